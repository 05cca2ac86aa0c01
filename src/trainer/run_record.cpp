#include "trainer/run_record.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/hash.h"

namespace infinipipe {

double RunRecord::goodput() const {
  const Seconds all = seconds + seconds_lost;
  return all > 0.0 ? seconds / all : 1.0;
}

RunRecord new_run() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  RunRecord record;
  record.id = hash_hex(std::string(host.data()) + " " + std::to_string(::getpid()) + " " +
                       std::to_string(std::chrono::nanoseconds(now).count()))
                  .substr(0, 16);
  return record;
}

Json to_json(const RunRecord& record) {
  return {{"id", record.id},
          {"tokens", record.tokens},
          {"seconds", record.seconds},
          {"steps_repeated", record.steps_repeated},
          {"seconds_lost", record.seconds_lost}};
}

RunRecord run_record(const Json& json, const std::string& where) {
  RunRecord record;
  if (json.is_null()) return record;
  const JsonView view(json, where, "run");
  record.id = view.at("id").string();
  record.tokens = view.at("tokens").integer(0);
  record.seconds = view.at("seconds").number(0.0, RunRecord::kMostSeconds);
  record.steps_repeated =
      static_cast<int>(view.at("steps_repeated").integer(0, RunRecord::kMostSteps));
  record.seconds_lost = view.at("seconds_lost").number(0.0, RunRecord::kMostSeconds);
  return record;
}

}  // namespace infinipipe

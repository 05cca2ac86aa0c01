#include "runtime/rank_server.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "runtime/rank_endpoints.h"
#include "runtime/rank_messages.h"
#include "runtime/wire.h"

namespace infinipipe {

using namespace rank_messages;

namespace {

class Server final {
 public:
  Server(Ranks& ranks, const ServeOptions& options) : ranks_(ranks), options_(options) {}

  void run() {
    for (;;) {
      ranks_.idle();
      const Json message = wire::from_bytes(ranks_.receive(0));
      const auto what = message.at("do").get<std::string>();
      if (what == kLeave) return;
      Json reply;
      try {
        reply = {{"value", obey(what, message)}};
      } catch (const Error& error) {
        reply = {{"error", error.what()}, {"kind", static_cast<int>(error.kind())}};
      } catch (const std::exception& error) {
        reply = {{"error", error.what()}, {"kind", static_cast<int>(ErrorKind::kRun)}};
      }
      if (options_.stop != nullptr && options_.stop->load()) reply["stop"] = true;
      ranks_.send(0, wire::to_bytes(reply));
    }
  }

 private:
  Json obey(const std::string& what, const Json& message) {
    if (what == kMake) return make(message.at("options"));
    if (what == kEnd) {
      local_.reset();
      return nullptr;
    }
    INFINIPIPE_ASSERT(local_.has_value(), "a rank was asked for work before it was made");
    if (what == kCommand) return command(message.at("command"));
    INFINIPIPE_ASSERT(what == kJob, "a message that this rank does not know");
    const auto name = message.at("name").get<std::string>();
    const auto job = std::find_if(options_.jobs.begin(), options_.jobs.end(),
                                  [&](const ProcessJob* each) { return each->name == name; });
    INFINIPIPE_ASSERT(job != options_.jobs.end(), "a job that this process does not know");
    ranks_.note(name);
    return (*job)->run(*local_, message.at("arguments"));
  }

  Json make(const Json& json) {
    ranks_.at(kMake);
    EngineOptions options = wire::options_from_json(json);
    options.ranks = &ranks_;
    local_.emplace(options, make_endpoints(options));
    return nullptr;
  }

  // Other ranks wait for what this one does not send: an error is the end of all.
  Json command(const Json& json) {
    std::string part = "a command";
    LocalRanks::Outcome outcome;
    const TimePoint origin = std::chrono::steady_clock::now();
    try {
      const Command command = wire::command_from_json(json);
      part = name_of(command);
      local_->start(command, origin);
      outcome = std::move(local_->wait().front());
    } catch (...) {
      outcome.thrown = std::current_exception();
    }
    if (outcome.thrown != nullptr) ranks_.fail(part, outcome.thrown);
    Json reply = wire::reply_to_json(outcome.reply);
    reply["origin"] = std::chrono::duration<double>(origin.time_since_epoch()).count();
    return reply;
  }

  Ranks& ranks_;
  const ServeOptions& options_;
  std::optional<LocalRanks> local_;
};

}  // namespace

void serve(Ranks& ranks, const ServeOptions& options) {
  try {
    Server(ranks, options).run();
  } catch (const std::exception&) {  // the others must not wait for a rank that is gone
    ranks.fail("serving", std::current_exception());
  }
}

}  // namespace infinipipe

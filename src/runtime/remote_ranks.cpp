#include "runtime/remote_ranks.h"

#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "runtime/rank_messages.h"
#include "runtime/wire.h"

namespace infinipipe {
namespace {

Seconds since_epoch(TimePoint time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace

RemoteRanks::RemoteRanks(Ranks* ranks) : ranks_(ranks) {}

int RemoteRanks::size() const { return ranks_ == nullptr ? 0 : ranks_->size() - 1; }

void RemoteRanks::ask(int rank, const Json& message) {
  ranks_->send(rank, wire::to_bytes(message));
}

void RemoteRanks::ask_all(const Json& message) {
  if (size() == 0) return;
  const std::string bytes = wire::to_bytes(message);
  for (int rank = 1; rank <= size(); ++rank) ranks_->send(rank, bytes);
}

void RemoteRanks::start_making(const EngineOptions& options) {
  layout_ = options.layout();
  if (size() == 0) return;
  ask_all({{"do", rank_messages::kMake}, {"options", wire::options_to_json(options)}});
}

void RemoteRanks::start_ending() { ask_all({{"do", rank_messages::kEnd}}); }

// A step's tokens are many: only the first and the last stage of a replica need them.
void RemoteRanks::start_command(const Command& command, TimePoint origin) {
  origin_ = origin;
  if (size() == 0) return;
  const auto bytes = [&](bool with_tokens) {
    return wire::to_bytes({{"do", rank_messages::kCommand},
                           {"command", wire::command_to_json(command, with_tokens)}});
  };
  const auto* run = std::get_if<RunStep>(&command);
  const std::string with = bytes(true);
  const std::string without = run != nullptr && layout_.stages > 2 ? bytes(false) : with;
  for (int rank = 1; rank <= size(); ++rank) {
    const int stage = layout_.stage(rank).value();
    ranks_->send(rank, stage == 0 || stage + 1 == layout_.stages ? with : without);
  }
}

void RemoteRanks::start_job(const ProcessJob& job, const Json& arguments) {
  ask_all({{"do", rank_messages::kJob}, {"name", job.name}, {"arguments", arguments}});
}

std::vector<Json> RemoteRanks::wait() {
  std::vector<Json> values;
  std::exception_ptr first;
  for (int rank = 1; rank <= size(); ++rank) {
    Json answer = wire::from_bytes(ranks_->receive(rank));
    if (answer.contains("stop")) ranks_->stop_was_asked();
    if (!answer.contains("error")) {
      values.push_back(std::move(answer.at("value")));
    } else if (first == nullptr) {
      first = std::make_exception_ptr(Error(static_cast<ErrorKind>(answer.at("kind").get<int>()),
                                            ranks_->where(rank),
                                            answer.at("error").get<std::string>()));
    }
  }
  if (first != nullptr) std::rethrow_exception(first);
  return values;
}

std::vector<Reply> RemoteRanks::wait_for_replies() {
  std::vector<Reply> replies;
  const std::vector<Json> values = wait();
  for (std::size_t i = 0; i < values.size(); ++i) {
    Reply& reply = replies.emplace_back(wire::reply_from_json(values[i]));
    auto* run = std::get_if<StageRun>(&reply);
    if (run == nullptr) continue;
    // How much later than the driver's origin, in the driver's time, the rank's own is.
    const Seconds theirs = values[i].at("origin").get<double>() -
                           ranks_->world().clock_offset(static_cast<int>(i) + 1);
    shift(*run, theirs - since_epoch(origin_));
  }
  return replies;
}

void RemoteRanks::dismiss() { ask_all({{"do", rank_messages::kLeave}}); }

}  // namespace infinipipe

// Traces: one that is read can be written, read again and shown, and has as many of everything.
#include <nlohmann/json.hpp>

#include "fuzz/harness.h"
#include "infinipipe/base/json.h"
#include "infinipipe/report/chrome_trace.h"

namespace infinipipe::fuzz {
namespace {

void run(std::string_view bytes) {
  Trace trace;
  if (!accepts([&] { trace = trace_from_json(parse_json(bytes, "trace"), "trace"); })) return;
  const Trace again = trace_from_json(trace_to_json(trace), "again");
  require(again.events.size() == trace.events.size(), "events are lost");
  require(again.transfers.size() == trace.transfers.size(), "messages are lost");
  require(again.memory.size() == trace.memory.size(), "samples are lost");
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    require(again.events[i].replica == trace.events[i].replica &&
                again.events[i].stage == trace.events[i].stage &&
                again.events[i].instruction == trace.events[i].instruction,
            "an event moves to another place");
  }
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}

// What a stage is at, for those who watch.
#pragma once

#include <cstdint>
#include <string>

namespace infinipipe {

// What a stage does at a moment. Of stages that wait for others' messages none is running.
struct StageStatus {
  bool running = false;
  std::string what;         // the instruction, or "optimizer"
  int step = 0;             // of it
  std::uint64_t begun = 0;  // counts, so that a watcher can tell one from the next
  std::string who{};        // RankLayout::name() of it
};

}  // namespace infinipipe

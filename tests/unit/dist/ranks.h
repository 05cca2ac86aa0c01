// Ranks as threads of this process, which meet in one store and talk over loopback.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "dist/world.h"

namespace infinipipe {

// Runs the body once per rank, each on its own thread. What it throws fails the test.
inline void on_ranks(int size, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&body, rank] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

inline void on_worlds(int size, const std::function<void(World&)>& body) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  on_ranks(size, [&](int rank) {
    World world(store, rank, size, {});
    world.connect();
    body(world);
  });
}

}  // namespace infinipipe

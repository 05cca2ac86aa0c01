// An engine whose ranks are threads of this process that talk as processes do: each has a world of
// its own, over Gloo or in each other's memory (direct_copies), and the first drives the others.
#pragma once

#include <exception>
#include <functional>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

#include "dist/ranks.h"
#include "runtime/engine.h"
#include "runtime/rank_server.h"
#include "runtime/remote_ranks.h"

namespace infinipipe::testing {

inline void over_worlds(Engine::Options options, const std::vector<const ProcessJob*>& jobs,
                        const std::function<void(Engine&)>& body) {
  const int size = options.layout().size();
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::thread> others;
  for (int rank = 1; rank < size; ++rank) {
    others.emplace_back([&store, &jobs, rank, size] {
      Ranks ranks(store, rank, size);
      ServeOptions serving;
      serving.jobs = jobs;
      serve(ranks, serving);
    });
  }
  Ranks ranks(store, 0, size);
  options.ranks = &ranks;
  std::exception_ptr thrown;  // by the body: the others are let go all the same
  try {
    Engine engine(options);
    body(engine);
  } catch (...) {
    thrown = std::current_exception();
  }
  RemoteRanks(&ranks).dismiss();
  for (std::thread& other : others) other.join();
  if (thrown != nullptr) std::rethrow_exception(thrown);
}

}  // namespace infinipipe::testing

#include "dist/c10d_communicator.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "base/random.h"
#include "infinipipe/base/error.h"
#include "unit/dist/ranks.h"

namespace infinipipe {
namespace {

using Comm = Communicator<at::Tensor>;

MessageInfo info(int chunk, std::int64_t rows = 2, std::int64_t columns = 3) {
  return {1, PipelineId(0), ChunkId(chunk), rows, columns};
}
at::Tensor filled(double value) { return at::full({2, 3}, value); }
double value_of(const Received<at::Tensor>& message) {
  return message.payload[0][0].item<double>();
}

void on_communicators(const RankLayout& layout, const CommunicatorOptions& options,
                      const std::function<void(Comm&)>& body) {
  on_worlds(layout.size(), [&](World& world) {
    const auto comm = world.communicator(layout, options);
    body(*comm);
    if (!comm->aborted()) comm->barrier();
  });
}

// With checks or without, in each other's memory or over Gloo.
class C10dCommunicators : public ::testing::TestWithParam<std::tuple<bool, bool>> {
 protected:
  CommunicatorOptions options() const {
    return {.direct_copies = std::get<1>(GetParam()), .check = std::get<0>(GetParam())};
  }
};
INSTANTIATE_TEST_SUITE_P(Options, C10dCommunicators,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool()));

TEST_P(C10dCommunicators, MessagesArriveInOrderOnEachFlow) {
  constexpr int kMessages = 200;
  on_communicators({3, 1}, options(), [](Comm& comm) {
    const int p = comm.stage().value();
    if (p > 0) {
      for (int i = 0; i < kMessages; ++i)
        comm.post_receive(StageId(p - 1), Flow::kActivation, info(i));
    }
    for (int i = 0; i < kMessages; ++i) {
      if (p > 0) {
        const auto message = comm.receive(StageId(p - 1), Flow::kActivation);
        EXPECT_EQ(value_of(message), 1000 * (p - 1) + i);
        EXPECT_LE(message.arrived, std::chrono::steady_clock::now());
      }
      if (p < 2) comm.send(StageId(p + 1), Flow::kActivation, info(i), filled(1000 * p + i));
    }
  });
}

TEST_P(C10dCommunicators, FlowsDoNotWaitForEachOther) {
  on_communicators({2, 1}, options(), [](Comm& comm) {
    const StageId other(1 - comm.stage().value());
    const Flow flow = comm.stage() == StageId(0) ? Flow::kActivation : Flow::kGradient;
    const Flow back = comm.stage() == StageId(0) ? Flow::kGradient : Flow::kActivation;
    comm.send(other, flow, info(0), filled(1));
    comm.send(other, flow, info(1), filled(2));
    comm.send(other, Flow::kParameter, info(2), filled(3));
    comm.post_receive(other, Flow::kParameter, info(2));
    EXPECT_EQ(value_of(comm.receive(other, Flow::kParameter)), 3);
    for (int i = 0; i < 2; ++i) {
      comm.post_receive(other, back, info(i));
      EXPECT_EQ(value_of(comm.receive(other, back)), 1 + i);
    }
  });
}

// One direction of a random exchange between two stages, known to both from the seed.
struct Direction {
  std::vector<at::Tensor> messages;
  Direction(std::uint64_t seed, int stream, at::ScalarType dtype) {
    Random random(seed, static_cast<std::uint64_t>(stream));
    for (int i = 0; i < 30; ++i) {
      const std::int64_t rows = random.between(0, 300);
      messages.push_back(at::arange(7 * rows).view({rows, 7}).remainder(251).add(i).to(dtype));
    }
  }
};

TEST_P(C10dCommunicators, RandomMessagesBothWays) {
  for (const auto& [activations, parameters] :
       {std::pair(at::kFloat, at::kDouble), std::pair(at::kBFloat16, at::kFloat)}) {
    CommunicatorOptions options = this->options();
    options.activations = activations;
    options.parameters = parameters;
    on_communicators({4, 1}, options, [&](Comm& comm) {
      const int p = comm.stage().value();
      Random random(17, static_cast<std::uint64_t>(p));
      struct Way {
        StageId other;
        Flow flow;
        bool sends;
        Direction direction;
        std::size_t posted = 0, done = 0;
      };
      std::vector<Way> ways;
      for (const bool sends : {true, false}) {
        const auto add = [&](int other, Flow flow, at::ScalarType dtype) {
          if (other < 0 || other > 3) return;
          const int stream = 10 * (sends ? p : other) + static_cast<int>(flow);
          ways.push_back({StageId(other), flow, sends, Direction(5, stream, dtype)});
        };
        add(sends ? p + 1 : p - 1, Flow::kActivation, activations);
        add(sends ? p - 1 : p + 1, Flow::kGradient, activations);
        if (p % 3 == 0) add(3 - p, Flow::kParameter, parameters);
      }
      // Everything is sent before anything is received, as sends never wait.
      for (Way& way : ways) {
        for (std::size_t i = 0; way.sends && i < 30; ++i) {
          const at::Tensor& tensor = way.direction.messages[i];
          comm.send(way.other, way.flow, info(static_cast<int>(i), tensor.size(0), 7), tensor);
        }
      }
      std::erase_if(ways, [](const Way& way) { return way.sends; });
      while (!ways.empty()) {
        const auto which = random.between(0, std::ssize(ways) - 1);
        Way& way = ways[static_cast<std::size_t>(which)];
        const auto ahead = std::min<std::size_t>(30, way.done + 1 + random.next() % 4);
        for (; way.posted < ahead; ++way.posted) {
          const at::Tensor& tensor = way.direction.messages[way.posted];
          comm.post_receive(way.other, way.flow,
                            info(static_cast<int>(way.posted), tensor.size(0), 7));
        }
        EXPECT_TRUE(
            comm.receive(way.other, way.flow).payload.equal(way.direction.messages[way.done]));
        if (++way.done == 30) ways.erase(ways.begin() + which);
      }
    });
  }
}

TEST_P(C10dCommunicators, PayloadsNeedNotBeContiguous) {
  const at::Tensor wide = at::arange(24).view({4, 6}).to(at::kFloat);
  on_communicators({2, 1}, options(), [&](Comm& comm) {
    if (comm.stage() == StageId(0)) {
      comm.send(StageId(1), Flow::kActivation, info(0, 6, 4), wide.t());
    } else {
      comm.post_receive(StageId(0), Flow::kActivation, info(0, 6, 4));
      EXPECT_TRUE(comm.receive(StageId(0), Flow::kActivation).payload.equal(wide.t()));
    }
  });
}

TEST_P(C10dCommunicators, SumsInRankOrderWhateverTheArrival) {
  // Numbers whose sum depends on the order: only 0 + 1 + 2 + 3 gives these bits.
  const std::vector<double> terms = {1e16, 1.0, -1e16, 1.0};
  const double in_order = ((terms[0] + terms[1]) + terms[2]) + terms[3];
  ASSERT_NE(in_order, ((terms[0] + terms[2]) + terms[1]) + terms[3]);
  on_communicators({2, 2}, options(), [&](Comm& comm) {
    const int rank = RankLayout{2, 2}.rank(comm.replica(), comm.stage());
    Random random(3, static_cast<std::uint64_t>(rank));
    for (int round = 0; round < 50; ++round) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 500)));
      const double term = terms[static_cast<std::size_t>(rank)];
      std::vector<double> values = {term, static_cast<double>(round), term * 2};
      comm.all_reduce_sum(values);
      EXPECT_EQ(values[0], in_order);
      EXPECT_EQ(values[1], 4.0 * round);
      EXPECT_EQ(values[2], in_order * 2);
    }
  });
}

TEST_P(C10dCommunicators, BarrierHoldsUntilAllCame) {
  std::atomic<int> came{0};
  on_communicators({4, 1}, options(), [&](Comm& comm) {
    for (int round = 1; round <= 30; ++round) {
      ++came;
      comm.barrier();
      EXPECT_GE(came.load(), 4 * round);
      comm.barrier();
    }
  });
}

TEST_P(C10dCommunicators, ExchangesAsAPlainLoop) {
  const auto part = [](int round, int from, int to, at::ScalarType dtype) {
    Random random(static_cast<std::uint64_t>(round), static_cast<std::uint64_t>(10 * from + to));
    const std::int64_t elements = random.between(0, 2) == 0 ? 0 : random.between(1, 2000);
    return at::arange(elements).remainder(97).add(from + 10 * to).to(dtype);
  };
  const std::vector<at::ScalarType> dtypes = {at::kBFloat16, at::kFloat, at::kDouble};
  for (const RankLayout& layout : {RankLayout{1, 1}, {1, 2}, {2, 2}, {1, 3}, {1, 4}}) {
    on_communicators(layout, options(), [&](Comm& comm) {
      Group<at::Tensor>& group = comm.copies();
      ASSERT_EQ(group.size(), layout.replicas);
      ASSERT_EQ(group.rank(), comm.replica());
      for (int round = 0; round < 12; ++round) {
        const at::ScalarType dtype = dtypes[static_cast<std::size_t>(round) % dtypes.size()];
        const int stage = 100 * comm.stage().value();
        std::vector<at::Tensor> give;
        std::vector<std::int64_t> counts;
        for (int i = 0; i < group.size(); ++i) {
          give.push_back(part(stage + round, group.rank(), i, dtype));
          counts.push_back(part(stage + round, i, group.rank(), dtype).numel());
        }
        const at::Tensor own = give[static_cast<std::size_t>(group.rank())];
        const std::vector<at::Tensor> came = group.exchange(give, counts);
        ASSERT_EQ(std::ssize(came), group.size());
        for (int i = 0; i < group.size(); ++i)
          EXPECT_TRUE(
              came[static_cast<std::size_t>(i)].equal(part(stage + round, i, group.rank(), dtype)));
        EXPECT_TRUE(came[static_cast<std::size_t>(group.rank())].is_same(own));
      }
    });
  }
}

TEST_P(C10dCommunicators, SeveralAtOnceDoNotMeet) {
  on_worlds(2, [&](World& world) {
    const auto first = world.communicator({2, 1}, options());
    const auto second = world.communicator({1, 2}, options());
    const int rank = world.rank();
    if (rank == 0) first->send(StageId(1), Flow::kActivation, info(0), filled(4));
    const std::vector<std::int64_t> ones = {6, 6};
    const auto came = second->copies().exchange({filled(rank), filled(rank)}, ones);
    EXPECT_EQ(came[static_cast<std::size_t>(1 - rank)][0].item<double>(), 1 - rank);
    if (rank == 1) {
      first->post_receive(StageId(0), Flow::kActivation, info(0));
      EXPECT_EQ(value_of(first->receive(StageId(0), Flow::kActivation)), 4);
    }
    first->barrier();
    second->barrier();
  });
}

TEST_P(C10dCommunicators, AbortWakesWhoWaitsAndIsTold) {
  std::atomic<int> told{0};
  CommunicatorOptions options = this->options();
  options.on_failure = [&](const StageFailure& failure) {
    EXPECT_EQ(failure.what, "no memory");
    ++told;
  };
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Comm*> endpoints;
  on_communicators({2, 1}, options, [&](Comm& comm) {
    std::unique_lock lock(mutex);
    endpoints.push_back(&comm);
    changed.notify_all();
    changed.wait(lock, [&] { return endpoints.size() == 2; });
    lock.unlock();
    if (comm.stage() == StageId(1)) {
      // A message nobody will take, and a receive that nobody will serve.
      comm.send(StageId(0), Flow::kGradient, info(0), filled(1));
      comm.post_receive(StageId(0), Flow::kActivation, info(0));
      EXPECT_THROW(comm.receive(StageId(0), Flow::kActivation), Aborted);
      EXPECT_THROW(comm.barrier(), Aborted);
      EXPECT_TRUE(comm.aborted());
      EXPECT_THROW(comm.recover(), RunError);
      lock.lock();
      endpoints.clear();
      changed.notify_all();
    } else {
      for (Comm* endpoint : endpoints) endpoint->abort({StageId(0), "F0.3", "no memory"});
      EXPECT_THROW(comm.check(), Aborted);
      lock.lock();
      changed.wait(lock, [&] { return endpoints.empty(); });
    }
  });
  EXPECT_EQ(told, 2);
}

TEST_P(C10dCommunicators, ALostRankIsNamed) {
  on_worlds(3, [&](World& world) {
    const auto comm = world.communicator({3, 1}, options());
    if (world.rank() != 1) return;  // who ends takes its connections along
    try {
      comm->post_receive(StageId(2), Flow::kGradient, info(0));
      comm->receive(StageId(2), Flow::kGradient);
      ADD_FAILURE() << "nothing was sent";
    } catch (const LostConnection& lost) {
      EXPECT_EQ(lost.rank(), 2);
    }
  });
}

TEST_P(C10dCommunicators, RefusesWhatCannotBe) {
  on_communicators({3, 1}, options(), [](Comm& comm) {
    if (comm.stage() != StageId(0)) return;
    EXPECT_THROW(comm.receive(StageId(1), Flow::kGradient), std::logic_error);  // not posted
    for (const auto& [to, flow] : {std::pair(0, Flow::kActivation),
                                   {2, Flow::kActivation},
                                   {1, Flow::kGradient},
                                   {1, Flow::kParameter}})
      EXPECT_THROW(comm.send(StageId(to), flow, info(0), filled(1)), std::logic_error);
    EXPECT_THROW(comm.send(StageId(1), Flow::kActivation, info(0, 2, 4), filled(1)),
                 std::logic_error);
    EXPECT_THROW(comm.send(StageId(1), Flow::kActivation, info(0), filled(1).to(at::kDouble)),
                 std::logic_error);
  });
}

TEST(CheckedC10dCommunicator, NamesWhatDiffers) {
  for (const MessageInfo& other : {MessageInfo{2, PipelineId(0), ChunkId(3), 2, 3},
                                   MessageInfo{1, PipelineId(1), ChunkId(3), 2, 3},
                                   MessageInfo{1, PipelineId(0), ChunkId(4), 2, 3},
                                   MessageInfo{1, PipelineId(0), ChunkId(3), 1, 3},
                                   MessageInfo{1, PipelineId(0), ChunkId(3), 3, 2}}) {
    on_communicators({2, 1}, {.check = true}, [&](Comm& comm) {
      if (comm.stage() == StageId(0))
        return comm.send(StageId(1), Flow::kActivation, info(3), filled(1));
      comm.post_receive(StageId(0), Flow::kActivation, other);
      try {
        comm.receive(StageId(0), Flow::kActivation);
        ADD_FAILURE() << "the mismatch was not seen";
      } catch (const std::logic_error& error) {
        EXPECT_THAT(error.what(),
                    testing::HasSubstr("activation from stage 0 is " + to_string(info(3)) +
                                       ", expected " + to_string(other)));
      }
    });
  }
}

TEST(CheckedC10dCommunicator, SeesAnotherCountInAnExchange) {
  on_communicators({1, 2}, {.check = true}, [](Comm& comm) {
    const std::vector<std::int64_t> counts = {6, 5};  // both give 6
    const std::vector<at::Tensor> give = {filled(1), filled(1)};
    if (comm.replica() == 0) {
      EXPECT_THROW(comm.copies().exchange(give, counts), std::logic_error);
      comm.abort({StageId(0), "", "the end"});
    } else {
      EXPECT_THROW(comm.copies().exchange(give, counts), LostConnection);
      comm.abort({StageId(0), "", "the end"});
    }
  });
}

}  // namespace
}  // namespace infinipipe

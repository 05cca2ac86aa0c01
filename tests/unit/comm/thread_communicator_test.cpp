#include "comm/thread_communicator.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/random.h"
#include "comm/checked_communicator.h"

namespace infinipipe {
namespace {

// Move-only, like a buffer that must be handed over.
using Payload = std::unique_ptr<int>;
using Endpoints = std::vector<std::unique_ptr<Communicator<Payload>>>;

Endpoints checked(const RankLayout& layout) {
  Endpoints endpoints;
  for (auto& inner : make_thread_communicators<CheckedMessage<Payload>>(layout))
    endpoints.push_back(std::make_unique<CheckedCommunicator<Payload>>(std::move(inner)));
  return endpoints;
}

// Runs `body` once per rank, each on its own thread.
void on_all_ranks(Endpoints& endpoints, const std::function<void(Communicator<Payload>&)>& body) {
  std::vector<std::thread> threads;
  for (auto& endpoint : endpoints) threads.emplace_back([&] { body(*endpoint); });
  for (std::thread& thread : threads) thread.join();
}

MessageInfo info(int chunk) { return {1, PipelineId(0), ChunkId(chunk), 10, 4}; }

class Communicators : public ::testing::TestWithParam<bool> {
 protected:
  Endpoints make(int stages, int replicas = 1) {
    const RankLayout layout{stages, replicas};
    return GetParam() ? checked(layout) : make_thread_communicators<Payload>(layout);
  }
};
INSTANTIATE_TEST_SUITE_P(PlainAndChecked, Communicators, ::testing::Bool());

TEST_P(Communicators, MessagesArriveInOrderOnEachFlow) {
  constexpr int kMessages = 200;
  Endpoints endpoints = make(3);
  on_all_ranks(endpoints, [](Communicator<Payload>& comm) {
    const int p = comm.stage().value();
    if (p > 0) {
      for (int i = 0; i < kMessages; ++i)
        comm.post_receive(StageId(p - 1), Flow::kActivation, info(i));
    }
    for (int i = 0; i < kMessages; ++i) {
      int value = i;
      if (p > 0) {
        const auto message = comm.receive(StageId(p - 1), Flow::kActivation);
        value = *message.payload;
        EXPECT_EQ(value, 1000 * (p - 1) + i);
        EXPECT_LE(message.arrived, std::chrono::steady_clock::now());
      }
      if (p < 2) {
        comm.send(StageId(p + 1), Flow::kActivation, info(i), std::make_unique<int>(1000 * p + i));
      }
    }
  });
}

TEST_P(Communicators, FlowsDoNotWaitForEachOther) {
  Endpoints endpoints = make(2);
  endpoints[0]->send(StageId(1), Flow::kActivation, info(0), std::make_unique<int>(1));
  endpoints[0]->send(StageId(1), Flow::kGradient, info(1), std::make_unique<int>(2));
  endpoints[0]->send(StageId(1), Flow::kParameter, info(2), std::make_unique<int>(3));
  Communicator<Payload>& receiver = *endpoints[1];
  receiver.post_receive(StageId(0), Flow::kParameter, info(2));
  receiver.post_receive(StageId(0), Flow::kGradient, info(1));
  receiver.post_receive(StageId(0), Flow::kActivation, info(0));
  EXPECT_EQ(*receiver.receive(StageId(0), Flow::kParameter).payload, 3);
  EXPECT_EQ(*receiver.receive(StageId(0), Flow::kGradient).payload, 2);
  EXPECT_EQ(*receiver.receive(StageId(0), Flow::kActivation).payload, 1);
}

TEST_P(Communicators, HandsOverWithoutCopy) {
  Endpoints endpoints = make(2);
  auto payload = std::make_unique<int>(7);
  const int* address = payload.get();
  endpoints[1]->post_receive(StageId(0), Flow::kActivation, info(0));
  endpoints[0]->send(StageId(1), Flow::kActivation, info(0), std::move(payload));
  EXPECT_EQ(endpoints[1]->receive(StageId(0), Flow::kActivation).payload.get(), address);
}

TEST_P(Communicators, ReceiveMustBePosted) {
  Endpoints endpoints = make(2);
  endpoints[0]->send(StageId(1), Flow::kActivation, info(0), std::make_unique<int>(1));
  EXPECT_THROW(endpoints[1]->receive(StageId(0), Flow::kActivation), std::logic_error);
  EXPECT_THROW(endpoints[1]->receive(StageId(0), Flow::kGradient), std::logic_error);
}

TEST_P(Communicators, SumsInStageOrderOnAllStages) {
  // Numbers whose sum depends on the order: only 0 + 1 + 2 + 3 gives these bits.
  const std::vector<double> terms = {1e16, 1.0, -1e16, 1.0};
  const double in_order = ((terms[0] + terms[1]) + terms[2]) + terms[3];
  ASSERT_NE(in_order, ((terms[0] + terms[2]) + terms[1]) + terms[3]);
  Endpoints endpoints = make(4);
  on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
    for (int round = 0; round < 50; ++round) {
      const double term = terms[comm.stage().index()];
      std::vector<double> values = {term, static_cast<double>(round), term * 2};
      comm.all_reduce_sum(values);
      EXPECT_EQ(values[0], in_order);
      EXPECT_EQ(values[1], 4.0 * round);
      EXPECT_EQ(values[2], in_order * 2);
    }
  });
}

TEST_P(Communicators, SumsInRankOrderOverStagesAndReplicas) {
  const std::vector<double> terms = {1e16, 1.0, -1e16, 1.0, 3.0, 1e-3};
  double in_order = 0.0;
  for (const double term : terms) in_order += term;
  Endpoints endpoints = make(3, 2);
  on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
    const int rank = RankLayout{3, 2}.rank(comm.replica(), comm.stage());
    double value = terms[static_cast<std::size_t>(rank)];
    comm.all_reduce_sum({&value, 1});
    EXPECT_EQ(value, in_order);
  });
}

TEST_P(Communicators, MessagesStayWithinAReplica) {
  Endpoints endpoints = make(2, 3);
  on_all_ranks(endpoints, [](Communicator<Payload>& comm) {
    for (int i = 0; i < 50; ++i) {
      if (comm.stage() == StageId(0)) {
        comm.send(StageId(1), Flow::kActivation, info(i),
                  std::make_unique<int>(100 * comm.replica() + i));
      } else {
        comm.post_receive(StageId(0), Flow::kActivation, info(i));
        EXPECT_EQ(*comm.receive(StageId(0), Flow::kActivation).payload, 100 * comm.replica() + i);
      }
    }
  });
}

// From one member to another, in one exchange of one stage.
int part_of(StageId stage, int round, int from, int to) {
  return 1000 * stage.value() + 100 * round + 10 * from + to;
}

TEST_P(Communicators, ExchangeGivesEveryReplicaItsParts) {
  for (int replicas = 1; replicas <= 4; ++replicas) {
    Endpoints endpoints = make(2, replicas);
    on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
      Group<Payload>& group = comm.copies();
      ASSERT_EQ(group.size(), replicas);
      ASSERT_EQ(group.rank(), comm.replica());
      const std::vector<std::int64_t> counts(static_cast<std::size_t>(replicas), 1);
      for (int round = 0; round < 9; ++round) {
        std::vector<Payload> give;
        for (int to = 0; to < replicas; ++to)
          give.push_back(std::make_unique<int>(part_of(comm.stage(), round, group.rank(), to)));
        const std::vector<Payload> came = group.exchange(std::move(give), counts);
        ASSERT_EQ(came.size(), counts.size());
        for (int from = 0; from < replicas; ++from) {
          EXPECT_EQ(*came[static_cast<std::size_t>(from)],
                    part_of(comm.stage(), round, from, group.rank()));
        }
      }
    });
  }
}

// A part for each of two replicas.
std::vector<Payload> two_parts(int value) {
  std::vector<Payload> parts;
  for (int to = 0; to < 2; ++to) parts.push_back(std::make_unique<int>(value));
  return parts;
}
constexpr std::int64_t kOneEach[] = {1, 1};

TEST_P(Communicators, AbortWakesAnExchange) {
  Endpoints endpoints = make(2, 2);
  std::atomic<int> woken{0};
  on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
    if (comm.replica() == 1 && comm.stage() == StageId(0)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      comm.abort({comm.stage(), "optimizer", "no memory", comm.replica()});
      return;
    }
    try {
      for (;;) comm.copies().exchange(two_parts(0), kOneEach);
    } catch (const Aborted& aborted) {
      EXPECT_EQ(aborted.failure().stage, StageId(0));
      EXPECT_EQ(aborted.failure().replica, 1);
      ++woken;
    }
  });
  EXPECT_EQ(woken.load(), 3);
}

TEST_P(Communicators, RecoverForgetsHalfAnExchange) {
  Endpoints endpoints = make(1, 2);
  on_all_ranks(endpoints, [](Communicator<Payload>& comm) {
    if (comm.replica() == 0) {
      EXPECT_THROW(comm.copies().exchange(two_parts(1), kOneEach), Aborted);
    } else {
      comm.abort({StageId(0), "", "before it met the other", 1});
    }
    comm.recover();
    const std::vector<Payload> came = comm.copies().exchange(two_parts(2), kOneEach);
    EXPECT_EQ(*came[0], 2);
    EXPECT_EQ(*came[1], 2);
  });
}

TEST_P(Communicators, BarrierHoldsUntilAllCame) {
  Endpoints endpoints = make(4);
  std::atomic<int> came{0};
  on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
    for (int round = 1; round <= 50; ++round) {
      ++came;
      comm.barrier();
      EXPECT_GE(came.load(), 4 * round);
      comm.barrier();
    }
  });
}

TEST_P(Communicators, AbortWakesAllWaitersWithWhoFailed) {
  Endpoints endpoints = make(4);
  std::atomic<int> woken{0};
  on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
    const int p = comm.stage().value();
    if (p == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      comm.abort({StageId(2), "F0.3", "no memory"});
      comm.abort({StageId(2), "F0.4", "later failures do not count"});
      return;
    }
    try {
      if (p == 0) {
        comm.post_receive(StageId(1), Flow::kGradient, info(0));
        comm.receive(StageId(1), Flow::kGradient);
      } else {
        comm.barrier();
      }
      ADD_FAILURE() << "stage " << p << " was not woken";
    } catch (const Aborted& aborted) {
      EXPECT_EQ(aborted.failure().stage, StageId(2));
      EXPECT_EQ(aborted.failure().where, "F0.3");
      EXPECT_STREQ(aborted.what(), "stage 2 failed at F0.3: no memory");
      EXPECT_TRUE(comm.aborted());
      EXPECT_THROW(comm.check(), Aborted);
      ++woken;
    }
  });
  EXPECT_EQ(woken.load(), 3);
}

TEST_P(Communicators, AbortedReceiveIgnoresWaitingMessages) {
  Endpoints endpoints = make(2);
  endpoints[0]->send(StageId(1), Flow::kActivation, info(0), std::make_unique<int>(1));
  endpoints[1]->post_receive(StageId(0), Flow::kActivation, info(0));
  endpoints[0]->abort({StageId(0), "", "gone"});
  EXPECT_THROW(endpoints[1]->receive(StageId(0), Flow::kActivation), Aborted);
  EXPECT_THROW(endpoints[1]->barrier(), Aborted);
}

TEST_P(Communicators, RecoverForgetsFailureAndMessages) {
  Endpoints endpoints = make(3);
  endpoints[0]->send(StageId(1), Flow::kActivation, info(5), std::make_unique<int>(5));
  endpoints[1]->post_receive(StageId(0), Flow::kActivation, info(5));
  on_all_ranks(endpoints, [](Communicator<Payload>& comm) {
    if (comm.stage() == StageId(2)) {
      comm.abort({StageId(2), "B0.0", "a test"});
    } else {
      EXPECT_THROW(comm.barrier(), Aborted);
    }
  });
  on_all_ranks(endpoints, [](Communicator<Payload>& comm) {
    comm.recover();
    EXPECT_FALSE(comm.aborted());
    comm.check();
    comm.barrier();
    double one = 1.0;
    comm.all_reduce_sum({&one, 1});
    EXPECT_EQ(one, 3.0);
    if (comm.stage() == StageId(0))
      comm.send(StageId(1), Flow::kActivation, info(6), std::make_unique<int>(6));
    if (comm.stage() == StageId(1)) {
      comm.post_receive(StageId(0), Flow::kActivation, info(6));
      EXPECT_EQ(*comm.receive(StageId(0), Flow::kActivation).payload, 6);
    }
  });
}

TEST_P(Communicators, ManyRandomExchangesWithAbortsComeToAnEnd) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Endpoints endpoints = make(4);
    for (int round = 0; round < 3; ++round) {
      on_all_ranks(endpoints, [&](Communicator<Payload>& comm) {
        const int p = comm.stage().value();
        Random random(seed, static_cast<std::uint64_t>(4 * round + p));
        const auto failing = random.between(0, 60);  // message at which this stage fails, if at all
        try {
          for (int i = 0; i < 40; ++i) {
            if (p > 0) {
              comm.post_receive(StageId(p - 1), Flow::kActivation, info(i));
              EXPECT_EQ(*comm.receive(StageId(p - 1), Flow::kActivation).payload, i);
            }
            if (i == failing) {
              comm.abort({comm.stage(), "F0." + std::to_string(i), "chosen at random"});
              break;
            }
            if (p < 3)
              comm.send(StageId(p + 1), Flow::kActivation, info(i), std::make_unique<int>(i));
          }
          comm.barrier();
        } catch (const Aborted&) {
        }
        comm.recover();
      });
    }
  }
}

TEST(CheckedCommunicator, NamesWhatDiffers) {
  Endpoints endpoints = checked({2, 1});
  endpoints[0]->send(StageId(1), Flow::kActivation, info(3), std::make_unique<int>(1));
  endpoints[1]->post_receive(StageId(0), Flow::kActivation, info(4));
  try {
    endpoints[1]->receive(StageId(0), Flow::kActivation);
    FAIL() << "the mismatch was not seen";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what())
                  .find("activation from stage 0 is step 1, chunk 0.3, [10, "
                        "4], expected step 1, chunk 0.4, [10, 4]"),
              std::string::npos)
        << error.what();
  }
}

TEST(CheckedCommunicator, SeesAnotherStepAndAnotherShape) {
  for (const MessageInfo& other : {MessageInfo{2, PipelineId(0), ChunkId(3), 10, 4},
                                   MessageInfo{1, PipelineId(1), ChunkId(3), 10, 4},
                                   MessageInfo{1, PipelineId(0), ChunkId(3), 11, 4},
                                   MessageInfo{1, PipelineId(0), ChunkId(3), 10, 5}}) {
    Endpoints endpoints = checked({2, 1});
    endpoints[0]->send(StageId(1), Flow::kGradient, info(3), std::make_unique<int>(1));
    endpoints[1]->post_receive(StageId(0), Flow::kGradient, other);
    EXPECT_THROW(endpoints[1]->receive(StageId(0), Flow::kGradient), std::logic_error);
  }
}

TEST(CheckedCommunicator, RefusesStagesThatAreNotThere) {
  Endpoints endpoints = checked({2, 1});
  EXPECT_THROW(endpoints[0]->send(StageId(2), Flow::kActivation, info(0), std::make_unique<int>(1)),
               std::logic_error);
  EXPECT_THROW(endpoints[0]->send(StageId(0), Flow::kActivation, info(0), std::make_unique<int>(1)),
               std::logic_error);
}

struct Elements {
  std::int64_t count = 0;
  std::int64_t numel() const { return count; }
};

TEST(CheckedCommunicator, SeesPartsOfAnotherSize) {
  std::vector<std::unique_ptr<Communicator<Elements>>> endpoints;
  for (auto& inner : make_thread_communicators<CheckedMessage<Elements>>({1, 2}))
    endpoints.push_back(std::make_unique<CheckedCommunicator<Elements>>(std::move(inner)));
  std::thread other([&] {
    const std::int64_t counts[] = {3, 0};
    EXPECT_NO_THROW(endpoints[1]->copies().exchange({{4}, {0}}, counts));
  });
  const std::int64_t counts[] = {0, 5};
  EXPECT_THROW(endpoints[0]->copies().exchange({{0}, {3}}, counts), std::logic_error);
  other.join();
}

// Shards of a stage are neighbours; its copies are all of them, replica by replica.
TEST(RankLayout, KnowsShardsAndCopies) {
  const RankLayout layout{3, 2, 4};
  EXPECT_EQ(layout.size(), 24);
  for (int rank = 0; rank < layout.size(); ++rank)
    EXPECT_EQ(layout.rank(layout.replica(rank), layout.stage(rank), layout.shard(rank)), rank);
  EXPECT_EQ(layout.rank(1, StageId(2), 3), 23);
  EXPECT_EQ(layout.copies(), 8);
  EXPECT_EQ(layout.copies_of(StageId(1)), (std::vector<int>{4, 5, 6, 7, 16, 17, 18, 19}));
  EXPECT_EQ(layout.copy(18), 6);
  EXPECT_EQ(layout.shards_beside(18, 2), (std::vector<int>{18, 19}));
  EXPECT_EQ(layout.shards_beside(17, 4), (std::vector<int>{16, 17, 18, 19}));
  EXPECT_EQ(layout.shards_beside(17, 1), (std::vector<int>{17}));
  EXPECT_EQ(layout.name(18), "replica 1, stage 1, shard 2");
  EXPECT_EQ((RankLayout{3, 1, 2}.name(5)), "stage 2, shard 1");
}

TEST(RankLayout, CountsStagesFirstAndNamesReplicasOnlyWhereThereAreSeveral) {
  const RankLayout layout{3, 2};
  EXPECT_EQ(layout.size(), 6);
  EXPECT_EQ(layout.rank(1, StageId(2)), 5);
  EXPECT_EQ(layout.replica(4), 1);
  EXPECT_EQ(layout.stage(4), StageId(1));
  EXPECT_EQ(layout.name(4), "replica 1, stage 1");
  EXPECT_EQ((RankLayout{3, 1}.name(2)), "stage 2");
}

TEST(Collective, RefusesDifferentCounts) {
  Collective collective(2, nullptr);
  std::vector<double> two(2);
  std::vector<double> three(3);
  std::atomic<int> refused{0};
  const auto call = [&](int stage, std::span<double> values) {
    try {
      collective.all_reduce_sum(stage, values);
    } catch (const std::logic_error&) {
      ++refused;
    }
  };
  std::thread first([&] { call(0, two); });
  call(1, three);
  first.join();
  EXPECT_EQ(refused.load(), 2);
}

}  // namespace
}  // namespace infinipipe

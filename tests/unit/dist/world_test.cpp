#include "dist/world.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "base/machine_memory.h"
#include "base/random.h"
#include "unit/dist/ranks.h"

namespace infinipipe {
namespace {

using testing::HasSubstr;

std::string bytes_of(std::uint64_t seed, std::size_t size) {
  Random random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.between(0, 255));
  return bytes;
}

TEST(World, RanksKnowEachOther) {
  on_worlds(3, [](World& world) {
    EXPECT_EQ(world.size(), 3);
    for (int rank = 0; rank < 3; ++rank) {
      const RankFacts& facts = world.facts(rank);
      EXPECT_EQ(facts.process, getpid());
      EXPECT_GT(facts.processors, 0);
      EXPECT_EQ(facts.memory, machine_memory());
      EXPECT_FALSE(facts.torch_version.empty());
      EXPECT_EQ(world.where(rank), "rank " + std::to_string(rank) + " (host " + facts.host + ")");
    }
  });
}

TEST(World, BytesArriveInOrderBetweenAllPairs) {
  constexpr std::size_t kSizes[] = {0, 1, 100000, 0, 7, 3 << 20, 2};
  on_worlds(4, [&](World& world) {
    const auto seed = [](int from, int to, std::size_t i) {
      return static_cast<std::uint64_t>(from) * 1000 + static_cast<std::uint64_t>(to) * 100 + i;
    };
    // All send everything before anyone receives: nobody waits for its receiver.
    for (int to = 0; to < 4; ++to) {
      for (std::size_t i = 0; to != world.rank() && i < std::size(kSizes); ++i)
        world.send(to, bytes_of(seed(world.rank(), to, i), kSizes[i]));
    }
    for (int from = 3; from >= 0; --from) {
      for (std::size_t i = 0; from != world.rank() && i < std::size(kSizes); ++i)
        EXPECT_TRUE(world.receive(from) == bytes_of(seed(from, world.rank(), i), kSizes[i]))
            << from << " to " << world.rank() << ", message " << i;
    }
  });
}

// More ranks than other tests have: hello, messages, clocks, and a communicator of 4 x 4.
TEST(World, SixteenRanksMeetAndTalk) {
  constexpr int kSize = 16;
  const RankLayout layout{4, 4};
  const auto begin = std::chrono::steady_clock::now();
  on_worlds(kSize, [&](World& world) {
    const int rank = world.rank();
    if (rank == 0) {
      const std::chrono::duration<double> so_far = std::chrono::steady_clock::now() - begin;
      for (int other = 1; other < kSize; ++other)
        EXPECT_LT(std::abs(world.clock_offset(other)), so_far.count());
    }
    for (int to = 0; to < kSize; ++to)
      if (to != rank) world.send(to, std::to_string(100 * rank + to));
    for (int from = 0; from < kSize; ++from) {
      if (from != rank) {
        EXPECT_EQ(world.receive(from), std::to_string(100 * from + rank));
      }
    }
    const auto comm = world.communicator(layout, {.check = true});
    const int stage = comm->stage().value();
    const int replica = comm->replica();
    const MessageInfo info{1, PipelineId(0), ChunkId(0), 1, 1};
    if (stage < 3)
      comm->send(StageId(stage + 1), Flow::kActivation, info, at::full({1, 1}, 1.0 * rank));
    if (stage > 0) {
      comm->post_receive(StageId(stage - 1), Flow::kActivation, info);
      EXPECT_EQ(comm->receive(StageId(stage - 1), Flow::kActivation).payload.item<float>(),
                rank - 1);
    }
    const std::vector<at::Tensor> give(4, at::full({1}, 1.0 * rank));
    const std::vector<std::int64_t> ones(4, 1);
    const std::vector<at::Tensor> came = comm->copies().exchange(give, ones);
    for (int r = 0; r < 4; ++r) {
      EXPECT_EQ(came[static_cast<std::size_t>(r)].item<float>(), layout.rank(r, StageId(stage)))
          << "replica " << r << " to " << replica;
    }
    std::vector<double> sum = {1.0 * rank};
    comm->all_reduce_sum(sum);
    EXPECT_EQ(sum[0], 120.0);
  });
}

TEST(World, ClocksOfOneProcessDifferByLessThanARoundTrip) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<double> largest{0};
  on_worlds(3, [&](World& world) {
    if (world.rank() == 0)
      largest = std::max(std::abs(world.clock_offset(1)), std::abs(world.clock_offset(2)));
  });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(largest, took.count());
}

TEST(World, ALostRankIsNamed) {
  on_worlds(3, [](World& world) {
    if (world.rank() == 1) return;
    if (world.rank() == 2) return world.send(0, "still there");
    EXPECT_EQ(world.receive(2), "still there");
    for (int again = 0; again < 2; ++again) {
      try {
        world.receive(1);
        ADD_FAILURE() << "nothing was sent";
      } catch (const LostConnection& lost) {
        EXPECT_EQ(lost.rank(), 1);
        EXPECT_THAT(lost.what(), HasSubstr("lost the connection to rank 1 (host "));
      }
    }
  });
}

// What each of two ranks is told when they start with these options.
template <class Exception>
std::vector<std::string> refusals(WorldOptions first, WorldOptions second) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::vector<std::string> messages(2);
  on_ranks(2, [&](int rank) {
    try {
      World(store, rank, 2, rank == 0 ? first : second);
    } catch (const Exception& error) {
      messages[static_cast<std::size_t>(rank)] = error.what();
    }
  });
  return messages;
}

TEST(World, OtherCodeIsRefusedByAll) {
  for (const std::string& message :
       refusals<InputError>({.code_version = "a"}, {.code_version = "b"})) {
    EXPECT_THAT(message, HasSubstr("rank 1 (host "));
    EXPECT_THAT(message, HasSubstr("has version b of this program"));
  }
}

TEST(World, WhoDoesNotComeIsNamed) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  on_ranks(2, [&](int rank) {
    try {
      World(store, 2 * rank, 4, {.hello_seconds = 0.2});
      ADD_FAILURE() << "ranks 1 and 3 are not there";
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), HasSubstr("of 4 ranks these did not come in 200.0 ms: 1 3; "));
    }
  });
}

TEST(World, TwoOfOneRankAreRefused) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::atomic<int> refused{0};
  on_ranks(2, [&](int) {
    try {
      World(store, 1, 2, {.hello_seconds = 0.2});
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("expected one process for each rank"));
      ++refused;
    } catch (const RunError&) {  // the other waited for rank 0
    }
  });
  EXPECT_EQ(refused, 1);
}

TEST(World, WarnsOnceOfTooFewProcessors) {
  std::vector<std::string> warnings;
  const auto store = c10::make_intrusive<c10d::HashStore>();
  on_ranks(2, [&](int rank) {
    World(store, rank, 2, {.threads = 1 << 20, .warn = [&](const std::string& warning) {
                             warnings.push_back(warning);
                           }});
  });
  ASSERT_EQ(warnings.size(), 1);
  EXPECT_THAT(warnings[0], HasSubstr("--bind-to none"));
}

// A listening loopback socket, as a launcher hands it over.
std::pair<int, int> socket_and_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(socket, 16), 0);
  EXPECT_EQ(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return {socket, ntohs(address.sin_port)};
}

Launch launch_of(int rank, int port) {
  Launch launch;
  launch.launcher = "a test";
  launch.rank = launch.local_rank = rank;
  launch.size = launch.local_size = 2;
  launch.address = "127.0.0.1";
  launch.port = port;
  launch.run_id = "run";
  return launch;
}

class WorldOverTcp : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(SocketGivenOrNot, WorldOverTcp, ::testing::Bool());

TEST_P(WorldOverTcp, RanksMeetAndTalk) {
  auto [socket, port] = socket_and_port();
  if (!GetParam()) close(socket);
  on_ranks(2, [&, handed = socket, at = port](int rank) {
    Launch launch = launch_of(rank, at);
    if (rank == 0 && GetParam()) launch.listen_fd = handed;
    World world(launch, {});
    world.connect();
    world.send(1 - rank, "from " + std::to_string(rank));
    EXPECT_EQ(world.receive(1 - rank), "from " + std::to_string(1 - rank));
    // The heartbeat's client goes on while another waits.
    const auto heartbeat = world.new_store_client();
    const auto waiting = world.new_store_client();
    const std::string key = "beat" + std::to_string(rank);
    std::thread waiter([&] { EXPECT_EQ(waiting->get_to_str(key), "1"); });
    heartbeat->set(key, "1");
    waiter.join();
    world.send(1 - rank, "end");
    world.receive(1 - rank);
  });
}

TEST(World, AnotherRunsStoreIsNotBelieved) {
  auto [socket, port] = socket_and_port();
  on_ranks(2, [&, handed = socket, at = port](int rank) {
    Launch launch = launch_of(rank, at);
    if (rank == 0) launch.listen_fd = handed;
    if (rank == 1) launch.run_id = "another";
    try {
      World(launch, {.hello_seconds = 1});
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr(rank == 1 ? "found the store of run run, expected that of run another"
                                      : "did not come"));
    }
  });
}

TEST(World, ATakenPortIsNamed) {
  auto [socket, port] = socket_and_port();
  try {
    World(launch_of(0, port), {});
    ADD_FAILURE() << "two listen at one port";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("cannot listen at 127.0.0.1:" + std::to_string(port)));
    EXPECT_THAT(error.what(), HasSubstr("set MASTER_PORT"));
  }
  close(socket);
}

TEST(StoreConnection, FindsTheAddressOfThisHost) {
  EXPECT_EQ(address_towards("127.0.0.1", 1), "127.0.0.1");
  EXPECT_EQ(address_towards("no.such.host.invalid", 1), "");
  EXPECT_TRUE(is_loopback("127.0.1.1"));
  EXPECT_FALSE(is_loopback("10.0.0.127"));
}

}  // namespace
}  // namespace infinipipe

#include "dist/world.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Logging.h>
#include <sched.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <utility>

#include "base/machine_memory.h"
#include "dist/cross_memory.h"
#include "dist/nccl.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 30;
constexpr int kClockRounds = 8;

// c10d warns of host names that do not resolve and of much else that is no fault.
void quieten_torch() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") != nullptr) return;
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", 0);
  c10::initLogging();
}

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "?";
}

// Launchers bind processes to processors, which no count of the machine's processors shows.
int usable_processors() {
  for (int most = CPU_SETSIZE; most <= (1 << 20); most *= 2) {
    const std::size_t bytes = CPU_ALLOC_SIZE(most);
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(most),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    if (sched_getaffinity(0, bytes, set.get()) == 0) return CPU_COUNT_S(bytes, set.get());
  }
  return 0;
}

Seconds steady_seconds() {
  return std::chrono::duration<Seconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

constexpr const char* kWord = "word";

std::string hello_key(int rank) { return "hello/" + std::to_string(rank); }

std::string to_text(const RankFacts& facts) {
  return canonical_json({{"host", facts.host},
                         {"process", facts.process},
                         {"processors", facts.processors},
                         {"memory", facts.memory},
                         {"code_version", facts.code_version},
                         {"torch_version", facts.torch_version},
                         {"wall_clock", facts.wall_clock},
                         {"address", facts.address}});
}

RankFacts facts_from(const std::string& text, int rank) {
  const Json json = parse_json(text, "the hello of rank " + std::to_string(rank));
  const JsonView view(json, "the hello of rank " + std::to_string(rank));
  const auto integer = [&](const char* key) {
    return static_cast<int>(view.at(key).integer(0, std::numeric_limits<int>::max()));
  };
  RankFacts facts;
  facts.host = view.at("host").string();
  facts.process = integer("process");
  facts.processors = integer("processors");
  facts.memory = view.at("memory").number();
  facts.code_version = view.at("code_version").string();
  facts.torch_version = view.at("torch_version").string();
  facts.wall_clock = view.at("wall_clock").number();
  facts.address = view.at("address").string();
  return facts;
}

at::Tensor one_number(at::ScalarType type) { return at::empty({1}, at::TensorOptions(type)); }

}  // namespace

World::World(const Launch& launch, WorldOptions options)
    : rank_(launch.rank), size_(launch.size), options_(std::move(options)) {
  quieten_torch();
  connection_ = connect_store(launch, options_.hello_seconds);
  check_run(launch.run_id);
  say_hello();
}

World::World(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, WorldOptions options)
    : rank_(rank), size_(size), options_(std::move(options)) {
  quieten_torch();
  connection_ = {store, [store] { return store; }, "127.0.0.1"};
  say_hello();
}

World::~World() = default;

std::string World::where(int rank) const {
  return "rank " + std::to_string(rank) + " (host " + facts(rank).host + ")";
}

// Another run's store at the same place is told apart before any of its values is believed.
void World::check_run(const std::string& run_id) {
  try {
    if (rank_ == 0) {
      connection_.store->set("run",
                             run_id.empty() ? std::to_string(std::random_device{}()) : run_id);
    } else if (const std::string found = connection_.store->get_to_str("run");
               !run_id.empty() && found != run_id) {
      throw RunError("rank " + std::to_string(rank_), "found the store of run " + found,
                     "expected that of run " + run_id,
                     "set MASTER_PORT to a port that no other run uses");
    }
  } catch (const RunError&) {
    throw;
  } catch (const std::exception&) {
    throw RunError("rank " + std::to_string(rank_),
                   "rank 0 did not begin in " + format_seconds(options_.hello_seconds),
                   "expected its run in the store", "look at its output");
  }
}

void World::say_hello() {
  RankFacts own;
  own.host = host_name();
  own.process = getpid();
  own.processors = usable_processors();
  own.memory = machine_memory();
  own.code_version = options_.code_version;
  own.torch_version = TORCH_VERSION;
  own.wall_clock =
      std::chrono::duration<Seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  own.address = connection_.address;

  std::vector<std::string> keys;
  for (int rank = 0; rank < size_; ++rank) keys.push_back(hello_key(rank));
  c10d::Store& store = *connection_.store;
  if (rank_ == 0) store.set(kWord, options_.word);
  const std::string text = to_text(own);
  if (const std::string first = store.compareSet(hello_key(rank_), "", text); first != text) {
    const RankFacts other = facts_from(first, rank_);
    throw InputError("rank " + std::to_string(rank_),
                     "is process " + std::to_string(own.process) + " of host " + own.host +
                         " and process " + std::to_string(other.process) + " of host " + other.host,
                     "expected one process for each rank",
                     "set MASTER_PORT to a port that no other run uses");
  }
  try {
    store.wait(keys,
               std::chrono::milliseconds(static_cast<std::int64_t>(1000 * options_.hello_seconds)));
  } catch (const std::exception& error) {
    std::string missing;
    for (int rank = 0; rank < size_; ++rank)
      if (!store.check({hello_key(rank)})) missing += " " + std::to_string(rank);
    if (missing.empty()) throw;
    throw RunError("the start",
                   "of " + std::to_string(size_) + " ranks these did not come in " +
                       format_seconds(options_.hello_seconds) + ":" + missing,
                   "", "look at their output");
  }
  for (const std::vector<std::uint8_t>& said : store.multiGet(keys))
    facts_.push_back(
        facts_from(std::string(said.begin(), said.end()), static_cast<int>(facts_.size())));
  word_ = store.get_to_str(kWord);
  check_versions();
  if (rank_ == 0) warn_of_few_processors();
}

void World::check_versions() const {
  const auto check = [&](int rank, const char* what, const std::string& one,
                         const std::string& other) {
    if (one == other) return;
    throw InputError(
        "the start",
        where(rank) + " has version " + other + " of " + what + ", " + where(0) + " has " + one, "",
        "install the same program on all hosts");
  };
  for (int rank = 1; rank < size_; ++rank) {
    check(rank, "this program", facts(0).code_version, facts(rank).code_version);
    check(rank, "torch", facts(0).torch_version, facts(rank).torch_version);
  }
}

void World::warn_of_few_processors() const {
  for (int rank = 0; rank < size_; ++rank) {
    if (facts(rank).processors >= options_.threads) continue;
    options_.warn(where(rank) + " may use " + std::to_string(facts(rank).processors) +
                  " processors and will have " + std::to_string(options_.threads) +
                  " threads; start with --bind-to none, or with fewer runtime.threads_per_stage");
    return;
  }
}

void World::connect() {
  std::string address = connection_.address;
  // A host's own name is often a loopback address, so rank 0's host reaches itself by one that
  // nobody else can use. It takes the one by which it reaches a rank of another host.
  for (const RankFacts& other : facts_)
    if (is_loopback(address) && !is_loopback(other.address))
      address = address_towards(other.address, 1);
  std::vector<int> all;
  for (int rank = 0; rank < size_; ++rank) all.push_back(rank);
  gloo_ = gloo_groups(address, options_.hello_seconds);
  control_ = make_group(gloo_, "control", all);
  transfers_ = std::make_unique<Transfers>(no_failure_, [this](int rank) { return where(rank); });
  meet();
}

c10::intrusive_ptr<c10d::Backend> World::make_group(const GroupFactory& factory,
                                                    const std::string& name,
                                                    const std::vector<int>& ranks) const {
  const auto own = std::find(ranks.begin(), ranks.end(), rank_) - ranks.begin();
  try {
    return factory(c10::make_intrusive<c10d::PrefixStore>(name, connection_.store),
                   static_cast<int>(own), static_cast<int>(ranks.size()));
  } catch (const std::exception& error) {
    std::string others;
    for (const int rank : ranks)
      if (rank != rank_) others += (others.empty() ? "" : ", ") + where(rank);
    const std::string reason = error.what();
    throw RunError("connecting " + where(rank_) + " to " + others,
                   reason.substr(0, reason.find('\n')), "",
                   "look at their output, and whether all hosts reach each other at any port");
  }
}

bool World::share_a_host(const std::vector<int>& ranks) const {
  return std::all_of(ranks.begin(), ranks.end(),
                     [&](int rank) { return facts(rank).host == facts(ranks.front()).host; });
}

void World::meet() {
  clock_offsets_.assign(static_cast<std::size_t>(size_), 0);
  const int peers_end = rank_ == 0 ? size_ : 1;
  for (int peer = rank_ == 0 ? 1 : 0; peer < peers_end; ++peer) {
    Seconds fastest = std::numeric_limits<Seconds>::max();
    for (int round = 0; round < kClockRounds; ++round) {
      at::Tensor clock = one_number(at::kDouble);
      if (rank_ != 0) {
        transfers_->wait(transfers_->post(control(peer), clock), control(peer));
        at::Tensor own = one_number(at::kDouble);
        *own.mutable_data_ptr<double>() = steady_seconds();
        transfers_->send(control(peer), own);
        continue;
      }
      const auto reply = transfers_->post(control(peer), clock);
      const Seconds before = steady_seconds();
      transfers_->send(control(peer), one_number(at::kDouble));
      transfers_->wait(reply, control(peer));
      const Seconds after = steady_seconds();
      if (after - before >= fastest) continue;
      fastest = after - before;
      clock_offsets_[static_cast<std::size_t>(peer)] =
          *clock.const_data_ptr<double>() - (before + after) / 2;
    }
  }
  // All have answered, so all are connected: whoever leaves from now on leaves nobody behind who
  // still waits to connect.
  for (int peer = 1; rank_ == 0 && peer < size_; ++peer)
    transfers_->send(control(peer), one_number(at::kDouble));
  if (rank_ != 0)
    transfers_->wait(transfers_->post(control(0), one_number(at::kDouble)), control(0));
}

void World::send(int to, const std::string& bytes) {
  at::Tensor count = one_number(at::kLong);
  *count.mutable_data_ptr<std::int64_t>() = std::ssize(bytes);
  transfers_->send(control(to), count);
  for (std::int64_t begin = 0; begin < std::ssize(bytes); begin += kPiece) {
    const std::int64_t size = std::min(kPiece, std::ssize(bytes) - begin);
    const at::Tensor piece = at::empty({size}, at::TensorOptions(at::kByte));
    std::memcpy(piece.mutable_data_ptr(), bytes.data() + begin, static_cast<std::size_t>(size));
    transfers_->send(control(to), piece);
  }
}

std::string World::receive(int from) {
  const at::Tensor count = one_number(at::kLong);
  transfers_->wait(transfers_->post(control(from), count), control(from));
  std::string bytes(static_cast<std::size_t>(*count.const_data_ptr<std::int64_t>()), '\0');
  for (std::int64_t begin = 0; begin < std::ssize(bytes); begin += kPiece) {
    const at::Tensor piece =
        at::from_blob(bytes.data() + begin, {std::min(kPiece, std::ssize(bytes) - begin)},
                      at::TensorOptions(at::kByte));
    transfers_->wait(transfers_->post(control(from), piece), control(from));
  }
  return bytes;
}

c10::intrusive_ptr<c10d::Store> World::new_store_client() const { return connection_.new_client(); }

std::unique_ptr<Communicator<at::Tensor>> World::communicator(const RankLayout& layout,
                                                              const CommunicatorOptions& options) {
  INFINIPIPE_ASSERT(layout.size() == size_, "a layout has one rank for each process");
  const std::string prefix = "communicator" + std::to_string(communicators_++);
  const GroupFactory data = options.nccl ? nccl_groups() : gloo_;
  const MakeGroup make = [&](const std::string& name, const std::vector<int>& ranks, bool host) {
    const std::string path = prefix + "/" + name;
    if (options.direct_copies && (host || !options.nccl) && share_a_host(ranks)) {
      const GroupFactory memory = cross_memory_groups();
      if (auto group = make_group(memory, path + "/memory", ranks)) return group;
    }
    return make_group(host ? gloo_ : data, path, ranks);
  };
  return std::make_unique<C10dCommunicator>(layout, rank_, options, make,
                                            [this](int rank) { return where(rank); });
}

}  // namespace infinipipe

// The analytic systems as a whole, against a checker that knows the profile's formulas only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/deepspeed.h"
#include "baselines/device_group_cost.h"
#include "baselines/flexsp.h"
#include "baselines/megatron.h"
#include "cost/lower_bound.h"
#include "infinipipe/base/error.h"
#include "support/clusters.h"

namespace infinipipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kAnalytic[] = {"deepspeed", "flexsp", "megatron", "megatron-dcp",
                                     "attention-balanced"};

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

void expect_covers(const SystemResult& result, std::size_t sequences, int devices) {
  std::vector<int> all;
  for (const auto& step : result.micro_batches) {
    int used = 0;
    for (const GroupShare& group : step) {
      used += group.devices;
      EXPECT_FALSE(group.sequences.empty());
      all.insert(all.end(), group.sequences.begin(), group.sequences.end());
    }
    EXPECT_LE(used, devices);
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(sequences);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

// docs/profile.md's formula for one stage of all layers, and ZeRO-3 over all devices.
struct Plain {
  const SystemContext& context;
  int degree;
  int recompute;

  Seconds direction(const DirectionCost& cost, const std::vector<Tokens>& lengths) const {
    double sum = cost.seconds_per_chunk;
    for (const Tokens length : lengths) {
      const auto n = static_cast<double>(length);
      sum +=
          (cost.seconds_per_token2 * n * n + cost.seconds_per_token * n + cost.seconds_per_slice) /
          degree;
      if (degree > 1) {
        sum += context.profile.links.all_to_all_bytes_per_token * n / degree /
               context.profile.links.all_to_all.at(degree);
      }
    }
    return sum;
  }
  Seconds seconds(const std::vector<Tokens>& lengths) const {
    const Profile& p = context.profile;
    double tokens = 0.0;
    for (const Tokens length : lengths) tokens += static_cast<double>(length);
    const double ends =
        (p.embedding.forward_seconds_per_token + p.embedding.backward_seconds_per_token +
         p.head.forward_seconds_per_token + p.head.backward_seconds_per_token) *
        tokens / degree;
    return direction(p.forward, lengths) * (1.0 + 1.0 * recompute / context.layers) +
           direction(p.backward, lengths) + ends;
  }
  Bytes bytes(const std::vector<Tokens>& lengths) const {
    const MemoryCost& m = context.profile.memory;
    double tokens = 0.0;
    for (const Tokens length : lengths) tokens += static_cast<double>(length);
    const double layer = m.activation_bytes_per_token / context.layers;
    const double token = m.activation_bytes_per_token + m.head_bytes_per_token -
                         recompute * (layer - m.input_bytes_per_token) +
                         (recompute > 0 ? layer : 0.0);
    return tokens * token / degree +
           (context.layers * m.state_bytes_per_layer + m.state_embedding_bytes +
            m.state_head_bytes) /
               context.devices +
           m.state_constant_bytes + m.workspace_bytes;
  }
};

std::vector<Tokens> lengths_of(const GroupShare& group, const std::vector<Tokens>& sequences) {
  std::vector<Tokens> lengths;
  for (const int i : group.sequences) lengths.push_back(sequences[static_cast<std::size_t>(i)]);
  return lengths;
}

// Seconds and peak of a deepspeed or flexsp result, from its groups alone.
void expect_adds_up(const SystemContext& context, const std::vector<Tokens>& sequences,
                    const SystemResult& result) {
  const int recompute = result.settings.at("recomputed_layers").get<int>();
  Seconds sum = 0.0;
  Seconds busy = 0.0;
  Bytes peak = 0.0;
  for (const auto& step : result.micro_batches) {
    Seconds slowest = 0.0;
    for (const GroupShare& group : step) {
      const Plain plain{context, group.devices, recompute};
      const std::vector<Tokens> lengths = lengths_of(group, sequences);
      slowest = std::max(slowest, plain.seconds(lengths));
      busy += plain.seconds(lengths) * group.devices;
      peak = std::max(peak, plain.bytes(lengths));
    }
    sum += slowest;
  }
  EXPECT_NEAR(result.seconds, sum, 1e-9 * sum);
  EXPECT_NEAR(result.peak_bytes.at(0), peak, 1e-9 * peak);
  EXPECT_LE(peak, context.limit() * (1.0 + 1e-9));
  EXPECT_NEAR(result.bubble, 1.0 - busy / (context.devices * sum), 1e-9);
}

TEST(Systems, EveryAnalyticOneCoversFitsAddsUpAndRepeats) {
  Random random(21);
  int ran = 0;
  for (int round = 0; round < 40; ++round) {
    SystemContext context = testing::toy_cluster(round % 3 == 0 ? 16 : 8);
    context.bytes_per_device = 1e6 + 8e6 * random.uniform();
    const auto sequences =
        testing::skewed_lengths(random, static_cast<int>(random.between(1, 60)), 3000);
    for (const char* name : kAnalytic) {
      SCOPED_TRACE(std::string(name) + " " + std::to_string(round));
      const auto system = make_system(name, context);
      EXPECT_EQ(system->name(), name);
      const SystemResult result = system->run(sequences);
      if (result.status != SystemStatus::kOk) {
        EXPECT_NE(result.reason, "");
        continue;
      }
      ++ran;
      expect_covers(result, sequences.size(), context.devices);
      if (std::string(name) == "deepspeed" || std::string(name) == "flexsp")
        expect_adds_up(context, sequences, result);
      for (const Bytes peak : result.peak_bytes) EXPECT_LE(peak, context.limit() * (1.0 + 1e-9));
      EXPECT_GT(result.lower_bound, 0.0);
      EXPECT_LE(result.lower_bound, result.seconds);
      EXPECT_GE(result.bubble, -1e-9);
      EXPECT_LT(result.bubble, 1.0);
      const Tokens tokens = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
      EXPECT_NEAR(result.tokens_per_second * result.seconds, static_cast<double>(tokens),
                  1e-6 * static_cast<double>(tokens));
      const SystemResult again = make_system(name, context)->run(sequences);
      EXPECT_EQ(again.seconds, result.seconds);
      EXPECT_EQ(again.settings, result.settings);
    }
  }
  EXPECT_GT(ran, 80);
}

// The optimiser's choice is the best of all its settings, each tried alone.
TEST(Systems, ChoosesTheBestSettingOfAll) {
  Random random(22);
  for (int round = 0; round < 12; ++round) {
    SystemContext context = testing::toy_cluster(8, round % 2 == 1);
    context.bytes_per_device = 2e6 + 8e6 * random.uniform();
    const auto sequences = testing::skewed_lengths(random, 30, 2500);
    const auto expect_best = [&](const SystemResult& chosen, std::vector<Seconds> each) {
      const Seconds least = *std::min_element(each.begin(), each.end());
      ASSERT_EQ(chosen.status == SystemStatus::kOk, least < kInfinity);
      if (least < kInfinity) {
        EXPECT_EQ(chosen.seconds, least);
      }
    };
    const auto seconds = [&](const System& system) {
      const SystemResult result = system.run(sequences);
      return result.status == SystemStatus::kOk ? result.seconds : kInfinity;
    };
    std::vector<Seconds> each;
    for (const int degree : group_degrees(context)) {
      for (const int recompute : recompute_settings(context.layers)) {
        for (const std::vector<double>& fill : {std::vector<double>{1.0}, {0.9}, {1.0, 0.9}}) {
          DeepspeedOptions one;
          one.degrees = {degree};
          one.recompute = {recompute};
          one.fill = fill;
          one.balance = fill.size() == 2;
          each.push_back(seconds(*make_deepspeed(context, one)));
        }
      }
    }
    expect_best(make_deepspeed(context)->run(sequences), each);
    each.clear();
    for (const MegatronSetting& setting : megatron_settings(context)) {
      MegatronOptions one;
      one.settings = {setting};
      each.push_back(seconds(*make_megatron(context, one)));
    }
    expect_best(make_megatron(context)->run(sequences), each);
    each.clear();
    for (const int recompute : recompute_settings(context.layers)) {
      FlexspOptions one;
      one.recompute = {recompute};
      each.push_back(seconds(*make_flexsp(context, one)));
    }
    expect_best(make_flexsp(context)->run(sequences), each);
  }
}

// One group of all devices is one of flexsp's choices, and so is any homogeneous degree whose bins
// are its micro-batches' groups.
TEST(Systems, FlexspIsNotSlowerThanOneGroup) {
  Random random(23);
  for (int round = 0; round < 20; ++round) {
    SystemContext context = testing::toy_cluster(8);
    context.bytes_per_device = 5e7;  // all in one micro-batch
    const auto sequences = testing::skewed_lengths(random, 25, 2000);
    DeepspeedOptions all;
    all.degrees = {8};
    const SystemResult deepspeed = make_deepspeed(context, all)->run(sequences);
    const SystemResult flexsp = make_flexsp(context)->run(sequences);
    ASSERT_EQ(deepspeed.status, SystemStatus::kOk);
    ASSERT_EQ(flexsp.status, SystemStatus::kOk);
    EXPECT_LE(flexsp.seconds, deepspeed.seconds * (1.0 + 1e-12));
  }
}

TEST(Systems, GathersThatComputeCannotHideCost) {
  const std::vector<Tokens> sequences = {100, 50, 20};
  SystemContext hidden = testing::toy_cluster(8, true);
  for (auto& [degree, rate] : hidden.profile.links.all_gather) rate = 1e12;
  hidden.profile.links.reduce_scatter = hidden.profile.links.all_gather;
  SystemContext exposed = hidden;
  for (auto& [degree, rate] : exposed.profile.links.all_gather) rate = 1e4;
  for (const char* name : {"deepspeed", "flexsp"}) {
    const Seconds free = make_system(name, testing::toy_cluster(8))->run(sequences).seconds;
    EXPECT_NEAR(make_system(name, hidden)->run(sequences).seconds, free, 1e-9) << name;
    const SystemResult slow = make_system(name, exposed)->run(sequences);
    // 2/16 of the states, gathered twice; a node of four brings a quarter each.
    const Bytes weights = (8 * 4096.0 + 2 * 8192.0) / 8.0;
    const Seconds gather = std::max(weights / 4 / 2 / 1e4, weights * 3 / 4 / 1e4);
    EXPECT_GT(slow.seconds, 2.0 * gather) << name;
    EXPECT_GT(slow.bubble, 0.5) << name;
  }
}

TEST(Systems, TuningFixesOneSettingForAll) {
  Random random(24);
  SystemContext context = testing::toy_cluster(8);
  context.bytes_per_device = 4e6;
  std::vector<std::vector<Tokens>> sample;
  for (int b = 0; b < 12; ++b) sample.push_back(testing::skewed_lengths(random, 20, 2500));
  for (const char* name : kAnalytic) {
    const auto free = make_system(name, context);
    const auto tuned = make_system(name, context);
    tuned->tune(sample);
    Json settings;
    for (const auto& batch : sample) {
      const SystemResult result = tuned->run(batch);
      ASSERT_EQ(result.status, SystemStatus::kOk) << name;
      EXPECT_GE(result.seconds, free->run(batch).seconds * (1.0 - 1e-12)) << name;
      Json fixed;
      for (const char* key : {"sequence_parallel", "tensor_parallel", "context_parallel", "stages",
                              "recomputed_layers"}) {
        if (result.settings.contains(key)) fixed[key] = result.settings.at(key);
      }
      if (settings.is_null()) settings = fixed;
      EXPECT_EQ(settings, fixed) << name;
    }
  }
}

TEST(Systems, OutOfMemorySaysWhatDidNotFit) {
  SystemContext context = testing::toy_cluster(8);
  context.bytes_per_device = 1e5;
  for (const char* name : kAnalytic) {
    const SystemResult result = make_system(name, context)->run({100, 1000000});
    EXPECT_EQ(result.status, SystemStatus::kOutOfMemory) << name;
    EXPECT_THAT(result.reason, ::testing::HasSubstr("1,000,000 tokens")) << name;
    EXPECT_EQ(result.reason.find('\n'), std::string::npos);
    EXPECT_EQ(result.seconds, 0.0);
    EXPECT_TRUE(result.settings.is_object());
  }
}

// Degrees of a micro-batch's own can be those that static ones fix, and nothing that balances
// context parallelism exchanges less than nothing.
TEST(Systems, DynamicContextParallelismIsBetweenStaticOneAndPerfectBalance) {
  Random random(25);
  int compared = 0;
  double gain = 1.0;
  for (int round = 0; round < 20; ++round) {
    SystemContext context = testing::toy_cluster(16);
    context.bytes_per_device = 3e6 + 6e6 * random.uniform();
    const auto sequences = testing::skewed_lengths(random, 60, 4000);
    const SystemResult fixed = make_system("megatron", context)->run(sequences);
    const SystemResult dynamic = make_system("megatron-dcp", context)->run(sequences);
    const SystemResult balanced = make_system("attention-balanced", context)->run(sequences);
    if (fixed.status != SystemStatus::kOk) continue;
    ++compared;
    ASSERT_EQ(dynamic.status, SystemStatus::kOk) << dynamic.reason;
    ASSERT_EQ(balanced.status, SystemStatus::kOk) << balanced.reason;
    EXPECT_LE(dynamic.seconds, 1.01 * fixed.seconds) << "sizes of micro-batches are rounded";
    EXPECT_LE(balanced.seconds, dynamic.seconds) << round;
    gain = std::max(gain, fixed.seconds / dynamic.seconds);
  }
  EXPECT_GE(compared, 10);
  EXPECT_GT(gain, 1.0);
}

TEST(Systems, EmptyBatchesTakeNoTime) {
  for (const char* name : kAnalytic) {
    const SystemResult result = make_system(name, testing::toy_cluster(8))->run({});
    EXPECT_EQ(result.status, SystemStatus::kOk) << name;
    EXPECT_EQ(result.seconds, 0.0) << name;
  }
}

TEST(Systems, RefuseWhatMakesNoSense) {
  const SystemContext good = testing::toy_cluster(8);
  EXPECT_EQ(
      message_of([&] { make_system("flexps", good); }),
      "planners: unknown system 'flexps', expected epp, epp-1f1b, 1f1b, seq1f1b, seq1f1b-fixed, "
      "mepipe, gpipe, deepspeed, flexsp, megatron, megatron-dcp or attention-balanced; did you "
      "mean "
      "flexsp?");
  SystemContext bad = good;
  bad.devices = 0;
  EXPECT_EQ(message_of([&] { make_system("deepspeed", bad); }),
            "cluster.devices: found 0, expected at least 1");
  bad = good;
  bad.layers = 0;
  EXPECT_THAT(message_of([&] { make_system("megatron", bad); }),
              ::testing::HasSubstr("model.num_hidden_layers: found 0"));
  bad = good;
  bad.parallelism = Parallelism{2, 2, 1};
  EXPECT_THAT(message_of([&] { make_system("flexsp", bad); }),
              ::testing::HasSubstr("expected the 8 devices of the cluster"));
  EXPECT_THAT(message_of([&] { make_system("epp", good); }), ::testing::HasSubstr("no evaluator"));
  EXPECT_THAT(message_of([&] {
                make_system("deepspeed", good)->run({5, 0});
              }),
              ::testing::HasSubstr("a sequence of 0 tokens"));
  SystemContext gathers = testing::toy_cluster(8, true);
  gathers.profile.links.all_gather.erase(8);
  EXPECT_THAT(message_of([&] { make_system("deepspeed", gathers); }),
              ::testing::HasSubstr("links.all_gather: found no degree 8"));
}

TEST(Systems, DegreesAreThoseOfDevicesAndProfile) {
  SystemContext context = testing::toy_cluster(16);
  context.profile.links.all_to_all.erase(4);
  EXPECT_EQ(group_degrees(context), (std::vector<int>{1, 2, 8, 16}));
  EXPECT_EQ(group_degrees(context, 2), (std::vector<int>{2, 8, 16}));
  // A node has 4 devices; groups may span nodes.
  EXPECT_EQ(pipeline_parallelisms(context), (std::vector<Parallelism>{{1, 1, 16},
                                                                      {1, 2, 8},
                                                                      {1, 8, 2},
                                                                      {1, 16, 1},
                                                                      {2, 1, 8},
                                                                      {2, 2, 4},
                                                                      {2, 8, 1},
                                                                      {4, 1, 4},
                                                                      {4, 2, 2},
                                                                      {8, 1, 2},
                                                                      {8, 2, 1}}));
  context.parallelism = Parallelism{4, 4, 1};
  EXPECT_EQ(pipeline_parallelisms(context), (std::vector<Parallelism>{{4, 4, 1}}));
  EXPECT_EQ(recompute_settings(8), (std::vector<int>{0, 2, 4, 6, 8}));
  EXPECT_EQ(recompute_settings(1), (std::vector<int>{0, 1}));
}

TEST(Systems, ClusterBoundIsTheLeastOverLayouts) {
  const SystemContext context = testing::toy_cluster(8);
  const std::vector<Tokens> sequences = {2000, 300, 40, 40, 5};
  Seconds least = kInfinity;
  for (const Parallelism& p : pipeline_parallelisms(context)) {
    least = std::min(least, lower_bound(context.profile, p, 8, sequences, context.limit()).seconds);
  }
  EXPECT_EQ(cluster_lower_bound(context, sequences), least);
  SystemContext small = context;
  small.bytes_per_device = 1000.0;
  EXPECT_EQ(cluster_lower_bound(small, sequences), 0.0);
}

}  // namespace
}  // namespace infinipipe

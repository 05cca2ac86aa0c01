#include "planner/chunking/sub_groups.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/random.h"
#include "planner/chunking/sequence_processor.h"

namespace infinipipe {
namespace {

// 0.2 s a token and 0.01 s a token^2 on one device, 1 s a chunk; exchanges take 0.04 s a token more
// on the device that has it, but alone.
ChunkSeconds cost_of(int degree) {
  return {.per_token2 = 0.01 / degree,
          .per_token = (0.2 + (degree > 1 ? 0.04 : 0.0)) / degree,
          .per_chunk = 1.0};
}

std::vector<SubGroupCost> costs_of(int devices) {
  std::vector<SubGroupCost> costs;
  for (int degree = 1; degree < devices; degree *= 2) costs.push_back({degree, cost_of(degree)});
  return costs;
}

std::vector<int> sorted_members(const std::vector<Tokens>& lengths) {
  std::vector<int> members(lengths.size());
  std::iota(members.begin(), members.end(), 0);
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  return members;
}

Seconds work(const std::vector<int>& sequences, const std::vector<Tokens>& lengths,
             const ChunkSeconds& cost) {
  Seconds sum = 0.0;
  for (const int s : sequences) sum += cost.slice(0, lengths[static_cast<std::size_t>(s)]);
  return sum;
}

TEST(SubGroups, ASequenceGoesToTheSmallestInWhichItEndsInTime) {
  const std::vector<SubGroupCost> costs = costs_of(8);
  const DealOptions options{
      .costs = costs, .whole = cost_of(8), .devices = 8, .target = 4.0, .capacity = 1000};
  EXPECT_EQ(cheapest_sub_group(10, options), 0) << "1 + 2 + 1 s";
  EXPECT_EQ(cheapest_sub_group(11, options), -1) << "larger ones exchange as much as all do";
  std::vector<SubGroupCost> faster = costs;
  faster[1].seconds.per_token -= 0.01 / 2;
  faster[2].seconds.per_token -= 0.005 / 4;
  const DealOptions better{
      .costs = faster, .whole = cost_of(8), .devices = 8, .target = 4.0, .capacity = 1000};
  EXPECT_EQ(cheapest_sub_group(11, better), 1);
  EXPECT_EQ(cheapest_sub_group(20, better), 2);
  EXPECT_EQ(cheapest_sub_group(40, better), -1);
  // A device alone has no room for more than an eighth of the capacity.
  const DealOptions narrow{
      .costs = faster, .whole = cost_of(8), .devices = 8, .target = 4.0, .capacity = 72};
  EXPECT_EQ(cheapest_sub_group(9, narrow), 0);
  EXPECT_EQ(cheapest_sub_group(10, narrow), 1);
}

TEST(SubGroups, DealtByHand) {
  const std::vector<SubGroupCost> costs = costs_of(2);
  const std::vector<Tokens> lengths = {10, 4, 6, 5};
  const DealOptions options{
      .costs = costs, .whole = cost_of(2), .devices = 2, .target = 5.0, .capacity = 1000};
  std::vector<int> left;
  const auto chunks = deal_to_sub_groups(sorted_members(lengths), lengths, options, left);
  EXPECT_TRUE(left.empty());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].degree, 1);
  // 10 tokens take 3 s, 6, 5 and 4 take 1.56, 1.25 and 0.96 s.
  EXPECT_EQ(chunks[0].groups, (std::vector<std::vector<int>>{{2, 3, 1}, {0}}));
  EXPECT_DOUBLE_EQ(chunks[0].seconds, 1.0 + 1.56 + 1.25 + 0.96);
}

TEST(SubGroups, WhatWouldWaitStaysWithTheWholeGroup) {
  const std::vector<SubGroupCost> costs = costs_of(8);
  const std::vector<Tokens> lengths = {10};
  const DealOptions options{
      .costs = costs, .whole = cost_of(8), .devices = 8, .target = 4.0, .capacity = 1000};
  std::vector<int> left;
  EXPECT_TRUE(deal_to_sub_groups({0}, lengths, options, left).empty());
  EXPECT_EQ(left, std::vector<int>{0}) << "seven devices of eight would wait";
}

// The least time in which so many bins can take the sequences.
Seconds best_of_all(const std::vector<Seconds>& seconds, std::size_t at,
                    std::vector<Seconds>& bins) {
  if (at == seconds.size()) return *std::max_element(bins.begin(), bins.end());
  Seconds best = std::numeric_limits<double>::infinity();
  for (Seconds& bin : bins) {
    bin += seconds[at];
    best = std::min(best, best_of_all(seconds, at + 1, bins));
    bin -= seconds[at];
  }
  return best;
}

TEST(SubGroups, RandomSequencesAreDealtWithinLimits) {
  int dealt = 0, brute = 0;
  for (int seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(static_cast<std::uint64_t>(seed), 91);
    const int devices = 1 << random.between(1, 4);
    std::vector<SubGroupCost> costs = costs_of(devices);
    for (SubGroupCost& cost : costs) cost.seconds.per_token *= 0.7 + 0.3 * random.uniform();
    std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(1, seed % 2 ? 7 : 200)));
    const Tokens longest = random.between(1, 60);
    for (Tokens& n : lengths) n = random.between(1, longest);
    const DealOptions options{.costs = costs,
                              .whole = cost_of(devices),
                              .devices = devices,
                              .target = 1.0 + 20.0 * random.uniform(),
                              .capacity = random.between(1, 1000)};
    std::vector<int> members = sorted_members(lengths);
    std::erase_if(members, [&](int s) {
      return cheapest_sub_group(lengths[static_cast<std::size_t>(s)], options) < 0;
    });
    std::vector<int> left;
    const auto chunks = deal_to_sub_groups(members, lengths, options, left);
    std::vector<int> seen = left;
    EXPECT_TRUE(std::is_sorted(left.begin(), left.end(), [&](int a, int b) {
      return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
    }));
    for (const DealtChunk& chunk : chunks) {
      ASSERT_EQ(chunk.groups.size() * static_cast<std::size_t>(chunk.degree),
                static_cast<std::size_t>(devices));
      const ChunkSeconds& cost =
          std::find_if(costs.begin(), costs.end(), [&](const SubGroupCost& c) {
            return c.degree == chunk.degree;
          })->seconds;
      Seconds slowest = 0.0;
      Seconds whole = options.whole.per_chunk;
      for (const std::vector<int>& group : chunk.groups) {
        const Seconds seconds = work(group, lengths, cost);
        slowest = std::max(slowest, seconds);
        whole += work(group, lengths, options.whole);
        Tokens tokens = 0;
        for (const int s : group) {
          const Tokens length = lengths[static_cast<std::size_t>(s)];
          tokens += length;
          const int least = cheapest_sub_group(length, options);
          EXPECT_LE(costs[static_cast<std::size_t>(least)].degree, chunk.degree);
          seen.push_back(s);
        }
        EXPECT_LE(tokens * static_cast<Tokens>(chunk.groups.size()), options.capacity);
      }
      EXPECT_NEAR(chunk.seconds, cost.per_chunk + slowest, 1e-9);
      EXPECT_LE(chunk.seconds, options.target * (1.0 + 1e-8));
      EXPECT_LT(chunk.seconds, whole) << "else the whole group would take it";
      ++dealt;
    }
    std::sort(seen.begin(), seen.end());
    std::sort(members.begin(), members.end());
    EXPECT_EQ(seen, members);
    // Longest first is within 4/3 of the best dealing of one chunk's sequences.
    if (chunks.size() != 1 || !left.empty() || members.size() > 7) continue;
    if (std::pow(static_cast<double>(chunks[0].groups.size()), members.size()) > 1e5) continue;
    const ChunkSeconds cost = std::find_if(costs.begin(), costs.end(), [&](const SubGroupCost& c) {
                                return c.degree == chunks[0].degree;
                              })->seconds;
    std::vector<Seconds> seconds;
    for (const int s : members) {
      seconds.push_back(cost.slice(0, lengths[static_cast<std::size_t>(s)]));
    }
    std::vector<Seconds> bins(chunks[0].groups.size(), 0.0);
    EXPECT_LE(chunks[0].seconds - cost.per_chunk,
              4.0 / 3.0 * best_of_all(seconds, 0, bins) * (1.0 + 1e-9));
    ++brute;
  }
  EXPECT_GT(dealt, 500);
  EXPECT_GT(brute, 30);
}

TEST(SubGroups, ChunkingsKeepTheirRules) {
  int grouped = 0;
  for (int seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(static_cast<std::uint64_t>(seed), 92);
    const int devices = 1 << random.between(1, 3);
    const std::vector<SubGroupCost> costs = costs_of(devices);
    std::vector<Tokens> lengths(static_cast<std::size_t>(random.between(1, 100)));
    for (Tokens& n : lengths) n = random.between(1, random.uniform() < 0.2 ? 200 : 20);
    const ChunkingOptions options{.slices = static_cast<int>(random.between(1, 4)),
                                  .pack_tokens = random.between(0, 500),
                                  .loosen_limit = 1.0,
                                  .target_seconds = 1.0 + 10.0 * random.uniform(),
                                  .sub_groups = costs,
                                  .devices = devices,
                                  .sub_group_seconds = 1.0 + random.uniform()};
    const Chunking chunking = process_sequences(lengths, cost_of(devices), options);
    std::vector<Tokens> done(lengths.size(), 0);
    ASSERT_EQ(chunking.seconds.size(), chunking.chunks.size());
    for (std::size_t k = 0; k < chunking.chunks.size(); ++k) {
      const Chunk& chunk = chunking.chunks[k];
      for (const Slice& slice : chunk.slices) done[slice.sequence.index()] += slice.tokens();
      if (chunk.degree == 0) {
        EXPECT_TRUE(chunk.groups.empty());
        continue;
      }
      ++grouped;
      EXPECT_EQ(chunk.kind, ChunkKind::kBatched);
      EXPECT_EQ(std::accumulate(chunk.groups.begin(), chunk.groups.end(), 0),
                static_cast<int>(chunk.slices.size()));
      Seconds slowest = 0.0;
      auto slice = chunk.slices.begin();
      for (const int count : chunk.groups) {
        Seconds seconds = cost_of(chunk.degree).per_chunk;
        for (int i = 0; i < count; ++i, ++slice) {
          seconds += cost_of(chunk.degree).slice(slice->begin, slice->end);
        }
        slowest = std::max(slowest, seconds);
      }
      EXPECT_NEAR(chunking.seconds[k], slowest, 1e-9);
    }
    EXPECT_EQ(done, lengths);
    EXPECT_EQ(process_sequences(lengths, cost_of(devices), options).chunks, chunking.chunks);
  }
  EXPECT_GT(grouped, 200);
}

}  // namespace
}  // namespace infinipipe

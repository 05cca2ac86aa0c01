#include "planner/chunking/sequence_processor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/random.h"

namespace infinipipe {
namespace {

constexpr ChunkSeconds kCost{
    .per_token2 = 6e-9, .per_token = 2e-4, .per_slice = 1e-3, .per_chunk = 6e-3};

// Each token in exactly one slice, slices of a sequence in order and adjacent chunks.
void expect_covers(const Chunking& chunking, const std::vector<Tokens>& sequences) {
  std::vector<Tokens> done(sequences.size(), 0);
  for (const Chunk& chunk : chunking.chunks) {
    ASSERT_FALSE(chunk.slices.empty());
    int tails = 0;
    for (const Slice& slice : chunk.slices) {
      ASSERT_EQ(slice.begin, done[slice.sequence.index()]);
      ASSERT_GT(slice.tokens(), 0);
      done[slice.sequence.index()] = slice.end;
      tails += slice.begin > 0;
    }
    EXPECT_LE(tails, 1);
    const bool cut = chunk.slices[0].tokens() != sequences[chunk.slices[0].sequence.index()];
    EXPECT_EQ(chunk.kind == ChunkKind::kBatched, !cut);
    if (cut) {
      EXPECT_EQ(chunk.kind == ChunkKind::kHybrid, chunk.slices.size() > 1);
    }
  }
  EXPECT_EQ(done, sequences);
  int at = 0;
  int slices = chunking.groups.empty() ? 0 : chunking.groups[0].slices();
  for (const ChunkGroup& group : chunking.groups) {
    EXPECT_EQ(group.begin, at);
    EXPECT_LE(group.slices(), slices);
    slices = group.slices();
    at = group.end;
  }
  EXPECT_EQ(at, static_cast<int>(chunking.chunks.size()));
}

TEST(SliceMesh, EqualTimeSlicesGetShorterWithContext) {
  const auto mesh = slice_mesh(100000, 5, 0, kCost);
  ASSERT_EQ(mesh.size(), 5u);
  EXPECT_EQ(mesh.back(), 100000);
  const Seconds share = kCost.tokens(0, 100000) / 5;
  Tokens begin = 0;
  Tokens last = 100000;
  for (const Tokens end : mesh) {
    EXPECT_NEAR(kCost.tokens(begin, end), share, share * 1e-4);
    EXPECT_LT(end - begin, last);
    last = end - begin;
    begin = end;
  }
}

// Behind the window no token costs more than the one before: slices of equal time have equally
// many.
TEST(SliceMesh, SlicesBehindAWindowAreOfEqualTimeAndLength) {
  ChunkSeconds cost = kCost;
  cost.window = 4000;
  for (const double per_context : {0.0, 0.05 * cost.per_token}) {
    cost.per_context = per_context;
    const auto mesh = slice_mesh(100000, 8, 0, cost);
    ASSERT_EQ(mesh.size(), 8u);
    EXPECT_EQ(mesh.back(), 100000);
    const Seconds first = cost.slice(0, mesh[0]);
    const Tokens second = mesh[1] - mesh[0];
    for (std::size_t k = 1; k < mesh.size(); ++k) {
      EXPECT_NEAR(cost.slice(mesh[k - 1], mesh[k]), first, first * 1e-3 + cost.per_context * 4000);
      EXPECT_NEAR(static_cast<double>(mesh[k] - mesh[k - 1]), static_cast<double>(second), 8.0);
    }
    EXPECT_GT(mesh[0], second) << "its first tokens see less";
  }
}

TEST(SliceMesh, SlicesThatPayForTheirContextAreOfEqualTimeToo) {
  ChunkSeconds cost = kCost;
  cost.per_context = 0.05 * cost.per_token;
  for (const int slices : {1, 2, 5, 17}) {
    const auto mesh = slice_mesh(100000, slices, 0, cost);
    ASSERT_EQ(mesh.size(), static_cast<std::size_t>(slices));
    EXPECT_EQ(mesh.back(), 100000);
    const Seconds first = cost.slice(0, mesh[0]);
    Tokens begin = 0;
    for (const Tokens end : mesh) {
      EXPECT_NEAR(cost.slice(begin, end), first, first * 1e-3);
      begin = end;
    }
  }
  // However dear a context is, there are as many slices as asked for, and none above the capacity.
  cost.per_context = 100.0 * cost.per_token;
  for (const Tokens capacity : {Tokens{0}, Tokens{300}, Tokens{900}}) {
    const auto mesh = slice_mesh(5000, 20, capacity, cost);
    EXPECT_EQ(mesh.size(), 20u);
    Tokens begin = 0;
    for (const Tokens end : mesh) {
      EXPECT_GT(end, begin);
      EXPECT_LE(end - begin, capacity > 0 ? capacity : 5000);
      begin = end;
    }
    EXPECT_EQ(begin, 5000);
  }
}

TEST(SliceMesh, TokenCostsAloneGiveEqualSlices) {
  EXPECT_EQ(slice_mesh(12, 4, 0, {.per_token = 1.0}), (std::vector<Tokens>{3, 6, 9, 12}));
  EXPECT_EQ(slice_mesh(12, 4, 0, {}), (std::vector<Tokens>{3, 6, 9, 12}));
}

TEST(SliceMesh, ShortSequencesGetAtMostOneSliceAToken) {
  EXPECT_EQ(slice_mesh(3, 8, 0, kCost), (std::vector<Tokens>{1, 2, 3}));
  EXPECT_EQ(slice_mesh(1, 1, 0, kCost), (std::vector<Tokens>{1}));
}

TEST(SliceMesh, CapacityBoundsSlicesAndTheRestStaysEqual) {
  for (const Tokens capacity : {Tokens{1}, Tokens{7}, Tokens{900}, Tokens{12345}}) {
    for (const int slices : {1, 3, 9, 40}) {
      const Tokens longest = std::min<Tokens>(50000, capacity * 60);
      const auto mesh = slice_mesh(longest, slices, capacity, kCost);
      const auto least = static_cast<std::size_t>((longest + capacity - 1) / capacity);
      EXPECT_EQ(mesh.size(),
                std::max<std::size_t>(static_cast<std::size_t>(std::min<Tokens>(slices, longest)),
                                      least));
      Tokens begin = 0;
      for (const Tokens end : mesh) {
        EXPECT_GT(end, begin);
        EXPECT_LE(end - begin, capacity);
        begin = end;
      }
      EXPECT_EQ(begin, longest);
    }
  }
}

TEST(SequenceProcessor, NothingForAnEmptyBatch) {
  const Chunking chunking = process_sequences({}, kCost, {});
  EXPECT_TRUE(chunking.chunks.empty());
  EXPECT_EQ(chunking.spread(), 0.0);
}

TEST(SequenceProcessor, CutsTheLongAndPacksTheShort) {
  std::vector<Tokens> sequences = {60000, 20000};
  for (int i = 0; i < 100; ++i) sequences.push_back(100 + 30 * i);
  const Chunking chunking = process_sequences(sequences, kCost, {.slices = 6});
  expect_covers(chunking, sequences);
  EXPECT_EQ(chunking.groups[0].slices(), 6);
  EXPECT_GE(chunking.groups[1].slices(), 2);
  EXPECT_EQ(chunking.chunks[static_cast<std::size_t>(chunking.groups[1].end - 1)].kind,
            ChunkKind::kHybrid);
  EXPECT_EQ(chunking.chunks.back().kind, ChunkKind::kBatched);
  for (const Chunk& chunk : chunking.chunks) EXPECT_LE(chunk.tokens(), chunking.target_tokens);
  for (const Seconds s : chunking.seconds) EXPECT_LE(s, chunking.target_seconds * (1 + 1e-12));
}

TEST(SequenceProcessor, SaysWhyChunksAreUneven) {
  const ChunkSeconds even{.per_token = 1.0};
  const auto cause = [&](const std::vector<Tokens>& sequences, const ChunkingOptions& options) {
    return process_sequences(sequences, even, options).spread_cause();
  };
  EXPECT_EQ(cause({}, {}), "");
  EXPECT_EQ(cause({100, 100}, {.slices = 2}), "");
  EXPECT_EQ(cause({100, 50, 20}, {.slices = 2}), "1 chunk of what was left over");
  EXPECT_EQ(cause({100, 60}, {.slices = 2}), "1 last slice that short sequences did not fill");
  EXPECT_EQ(cause({100, 20}, {.slices = 1, .pack_tokens = 100}),
            "1 chunk of what was left over; the slowest is one whole sequence of 100 tokens");
  // Tokens bound the slices, attention makes the later ones slower.
  const ChunkSeconds steep{.per_token2 = 1.0, .per_token = 1.0};
  EXPECT_EQ(process_sequences({100}, steep, {.slices = 2, .capacity = 50}).spread_cause(),
            "1 chunk at the limit of 50 tokens");
}

TEST(SequenceProcessor, BestFitTakesTheLeastTimePerToken) {
  // After cutting 8 in two, tails 8 -> 4 and 6 -> 2 are open; the third sequence fits both, and
  // the tail of 6 has less context, so less time per token.
  const ChunkSeconds cost{.per_token2 = 1.0, .per_token = 100.0};
  const Chunking chunking = process_sequences({8, 6, 1}, cost, {.slices = 2, .pack_tokens = 6});
  expect_covers(chunking, {8, 6, 1});
  ASSERT_EQ(chunking.chunks.size(), 4u);
  EXPECT_EQ(chunking.chunks[3].kind, ChunkKind::kHybrid);
  EXPECT_EQ(chunking.chunks[3].slices[0].sequence, SequenceId(1));
  EXPECT_EQ(chunking.chunks[3].slices[1].sequence, SequenceId(2));
}

TEST(SequenceProcessor, LoosensTheTimeOrOpensABucketAsAsked) {
  // Two slices of 5 tokens; attention makes the tail as dear as allowed, tokens leave room.
  const ChunkSeconds cost{.per_token2 = 1.0, .per_token = 1.0};
  const std::vector<Tokens> sequences = {20, 3};
  const ChunkingOptions literal{.slices = 2};
  const Chunking loose = process_sequences(sequences, cost, literal);
  expect_covers(loose, sequences);
  EXPECT_EQ(loose.chunks.size(), 2u);
  EXPECT_GT(loose.target_seconds, cost.tokens(0, 20) / 2 + 3.0);
  const Chunking strict = process_sequences(sequences, cost, {.slices = 2, .loosen_limit = 1.01});
  expect_covers(strict, sequences);
  EXPECT_EQ(strict.chunks.size(), 3u);
}

TEST(SequenceProcessor, OneSlicePacksUpToTheTokensAsked) {
  const std::vector<Tokens> sequences(32, 64);
  EXPECT_EQ(process_sequences(sequences, kCost, {.slices = 1}).chunks.size(), 32u);
  EXPECT_EQ(process_sequences(sequences, kCost, {.slices = 1, .pack_tokens = 256}).chunks.size(),
            8u);
  EXPECT_EQ(process_sequences(sequences, kCost, {.slices = 1, .capacity = 128, .pack_tokens = 256})
                .chunks.size(),
            16u);
}

TEST(SequenceProcessor, TiesGoBySequenceIndex) {
  const Chunking chunking =
      process_sequences({10, 10, 10, 10}, kCost, {.slices = 1, .pack_tokens = 20});
  ASSERT_EQ(chunking.chunks.size(), 2u);
  EXPECT_EQ(chunking.chunks[0].slices[0].sequence, SequenceId(0));
  EXPECT_EQ(chunking.chunks[0].slices[1].sequence, SequenceId(1));
  EXPECT_EQ(chunking.chunks[1].slices[0].sequence, SequenceId(2));
}

TEST(SequenceProcessor, RandomBatchesAreCoveredWithinTheirLimits) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<Tokens> sequences(static_cast<std::size_t>(random.between(1, 200)));
    for (Tokens& s : sequences) {
      s = random.between(0, 9) == 0 ? random.between(1, 60000) : random.between(1, 1500);
    }
    const ChunkSeconds cost{.per_token2 = random.uniform() * 1e-8,
                            .per_token = random.uniform() * 1e-4,
                            .per_slice = random.uniform() * 1e-3,
                            .per_chunk = random.uniform() * 1e-1};
    const ChunkingOptions options{.slices = static_cast<int>(random.between(1, 12)),
                                  .capacity = random.between(0, 1) * random.between(300, 20000),
                                  .pack_tokens = random.between(0, 1) * random.between(1, 9000),
                                  .loosen_limit = random.uniform() < 0.5 ? 0.0 : 1.05};
    const Chunking chunking = process_sequences(sequences, cost, options);
    expect_covers(chunking, sequences);
    for (const Chunk& chunk : chunking.chunks) {
      EXPECT_LE(chunk.tokens(), chunking.target_tokens);
      if (options.capacity > 0) {
        EXPECT_LE(chunk.tokens(), options.capacity);
      }
    }
    const Chunking again = process_sequences(sequences, cost, options);
    EXPECT_EQ(again.chunks, chunking.chunks);
  }
}

}  // namespace
}  // namespace infinipipe

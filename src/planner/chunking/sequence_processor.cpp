#include "planner/chunking/sequence_processor.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "infinipipe/base/error.h"
#include "planner/chunking/bucket_index.h"

namespace infinipipe {

namespace {

// How many tokens without context take so long: the x >= 0 with per_token2 x^2 + per_token x =
// seconds, or, where that is beyond the window, the x on the line that the time follows there.
double tokens_of(Seconds seconds, const ChunkSeconds& cost) {
  if (seconds <= 0.0) return 0.0;
  if (cost.per_token2 <= 0.0) return cost.per_token > 0.0 ? seconds / cost.per_token : 0.0;
  const double root = std::sqrt(cost.per_token * cost.per_token + 4.0 * cost.per_token2 * seconds);
  const double tokens = 2.0 * seconds / (cost.per_token + root);  // no cancellation
  const auto window = static_cast<double>(cost.window);
  if (cost.window <= 0 || tokens <= window) return tokens;
  const Seconds within = cost.per_token2 * window * window + cost.per_token * window;
  const double slope = cost.per_token2 * (2.0 * window - 1.0) + cost.per_token;
  return window + (seconds - within) / slope;
}

// A machine whose tokens cost nothing is cut by tokens.
ChunkSeconds with_slope(ChunkSeconds cost) {
  if (cost.per_token2 <= 0.0 && cost.per_token <= 0.0) cost.per_token = 1.0;
  return cost;
}

// slice_mesh() for a machine on which a slice also pays for the context that it reads. Later slices
// then have fewer tokens. Their common time has no formula: it is found by bisection, as the least
// time with which so many slices reach the end of the sequence. `slices` x `cap` >= `longest`.
std::vector<Tokens> context_mesh(Tokens longest, Tokens slices, Tokens cap,
                                 const ChunkSeconds& cost) {
  // The end of a slice that begins at `at` and takes so many seconds; at least one token, at most
  // cap.
  const auto end_of = [&](double at, Seconds seconds) {
    const Seconds before =
        cost.per_token2 * attention_token2(at, cost.window) + cost.per_token * at;
    const double read = attention_context(at, cost.window);
    const double end = tokens_of(before + std::max(0.0, seconds - cost.per_context * read), cost);
    return std::clamp(end, at + 1.0, at + static_cast<double>(cap));
  };
  const auto reaches = [&](Seconds seconds) {
    double at = 0.0;
    for (Tokens i = 0; i < slices; ++i) at = end_of(at, seconds);
    return at >= static_cast<double>(longest);
  };
  Seconds low = 0.0;
  Seconds high = cost.tokens(0, longest) + cost.per_context * static_cast<double>(longest);
  for (int i = 0; i < 60; ++i) {
    const Seconds middle = 0.5 * (low + high);
    (reaches(middle) ? high : low) = middle;
  }
  std::vector<Tokens> mesh;
  Tokens at = 0;
  for (Tokens left = slices - 1; left > 0; --left) {
    const Tokens end = std::llround(end_of(static_cast<double>(at), high));
    at =
        std::clamp(end, std::max(at + 1, longest - left * cap), std::min(at + cap, longest - left));
    mesh.push_back(at);
  }
  mesh.push_back(longest);
  return mesh;
}

// A chunk that short sequences are packed into: it begins with the tail of a cut sequence, or
// empty.
struct Filling {
  std::optional<int> tail_of;  // position in the list of cut sequences
  std::vector<int> shorts;     // sequence indices
  Tokens tokens = 0;
  Seconds seconds = 0.0;
  int degree = 0;  // as the chunk's, with its groups
  std::vector<int> groups{};
};

// A sequence that was cut; its last slice lies in a bucket.
struct Cut {
  int sequence = 0;
  std::vector<Slice> slices;
  int bucket = 0;
  Seconds seconds = 0.0;
};

// Alg. 1 of the paper, in three steps.
//
// Cutting. The longest sequence that may be cut is cut in K slices of equal time. Their boundaries
// are the mesh, and every longer sequence than the mesh's first slice is cut at the same
// boundaries, up to its own end. So slices of all sequences take the same time, but for the last
// slice of each (its tail), which may be short. A slice's time and tokens are the targets T_t and
// T_m for packing.
//
// Packing. Tails and new chunks are buckets that short sequences go into, the longest first. A
// sequence goes into the bucket with the least time per token that can take it within both targets:
// such a bucket has tokens with little attention, and gets time without getting too many tokens. If
// there is none, the target time is loosened: the bucket with the least time takes the sequence, as
// far as the loosening has no limit. If that is not possible either, a new bucket is opened.
//
// Collecting. Groups stand in order of slices, then time, so that the pipelines that are made of
// them have the longest sequences first.
class Processor final {
 public:
  Processor(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
            const ChunkingOptions& options)
      : sequences_(sequences), cost_(cost), options_(options) {}

  Chunking run() {
    if (sequences_.empty()) return {};
    cut_long();
    pack_short();
    return collect();
  }

 private:
  void cut_long() {
    set_targets();
    for (int i = 0; i < static_cast<int>(sequences_.size()); ++i) {
      const Tokens length = sequences_[static_cast<std::size_t>(i)];
      INFINIPIPE_ASSERT(length >= 1, "an empty sequence");
      if (stays_whole(length)) {
        fillings_.push_back({.tail_of = {},
                             .shorts = {i},
                             .tokens = length,
                             .seconds = cost_.per_chunk + cost_.slice(0, length)});
      } else if (length <= mesh_.front()) {
        shorts_.push_back(i);
      } else {
        cut_at_mesh(i, length);
      }
    }
  }

  // The mesh, and with it T_t and T_m.
  void set_targets() {
    Tokens longest = 1;  // of the sequences that may be cut
    for (const Tokens length : sequences_) {
      if (!stays_whole(length)) longest = std::max(longest, length);
    }
    mesh_ = slice_mesh(longest, options_.slices, slice_capacity(), with_slope(cost_));
    Tokens begin = 0;
    for (const Tokens end : mesh_) {
      target_seconds_ = std::max(target_seconds_, cost_.per_chunk + cost_.slice(begin, end));
      target_tokens_ = std::max(target_tokens_, end - begin);
      begin = end;
    }
    target_seconds_ = std::max(target_seconds_, options_.target_seconds);
    target_tokens_ = std::max(target_tokens_, options_.pack_tokens);
    if (options_.capacity > 0) target_tokens_ = std::min(target_tokens_, options_.capacity);
  }

  // Cuts sequence `i` at the mesh's boundaries; its tail opens a bucket.
  void cut_at_mesh(int i, Tokens length) {
    Cut cut{.sequence = i, .slices = {}, .bucket = static_cast<int>(fillings_.size())};
    for (Tokens at = 0, k = 0; at < length; ++k) {
      const Tokens end = std::min(length, mesh_[static_cast<std::size_t>(k)]);
      cut.slices.push_back({SequenceId(i), at, end});
      cut.seconds += cost_.per_chunk + cost_.slice(at, end);
      at = end;
    }
    const Slice& tail = cut.slices.back();
    fillings_.push_back({.tail_of = static_cast<int>(cuts_.size()),
                         .shorts = {},
                         .tokens = tail.tokens(),
                         .seconds = cost_.per_chunk + cost_.slice(tail.begin, tail.end)});
    cuts_.push_back(std::move(cut));
  }

  Tokens slice_capacity() const {
    if (options_.slice_capacity == 0) return options_.capacity;
    if (options_.capacity == 0) return options_.slice_capacity;
    return std::min(options_.capacity, options_.slice_capacity);
  }
  // How many tokens this bucket may hold.
  Tokens bucket_tokens(const Filling& filling) const {
    const Tokens slices = slice_capacity();
    return filling.tail_of && slices > 0 ? std::min(slices, target_tokens_) : target_tokens_;
  }

  bool stays_whole(Tokens length) const {
    return options_.whole_above > 0 && length > options_.whole_above;
  }

  void pack_short() {
    // Time grows with length: the longest sequence is also the slowest.
    std::stable_sort(shorts_.begin(), shorts_.end(),
                     [&](int a, int b) { return length(a) > length(b); });
    if (shorts_.empty()) return;
    if (!options_.sub_groups.empty()) return pack_with_sub_groups();
    pack_whole(shorts_);
  }

  // Sequences that a sub-group does with less have chunks of their own; the whole group shares the
  // others, and those for which the sub-groups had no others to run beside them.
  void pack_with_sub_groups() {
    const DealOptions deal{.costs = options_.sub_groups,
                           .whole = cost_,
                           .devices = options_.devices,
                           .target = target_seconds_ * options_.sub_group_seconds,
                           .capacity = target_tokens_};
    std::vector<int> whole;
    const std::vector<DealtChunk> chunks = deal_to_sub_groups(shorts_, sequences_, deal, whole);
    pack_whole(whole);
    for (const DealtChunk& chunk : chunks) {
      Filling filling{
          .tail_of = {}, .shorts = {}, .seconds = chunk.seconds, .degree = chunk.degree};
      for (const std::vector<int>& group : chunk.groups) {
        filling.groups.push_back(static_cast<int>(group.size()));
        filling.shorts.insert(filling.shorts.end(), group.begin(), group.end());
        for (const int s : group) filling.tokens += length(s);
      }
      fillings_.push_back(std::move(filling));
    }
  }

  // The bucket may be found again, if it has room for `least` tokens.
  void reopen(BucketIndex& open, int id, Tokens least) const {
    const Filling& f = fillings_[static_cast<std::size_t>(id)];
    const Tokens more = bucket_tokens(f) - f.tokens;
    if (more >= least) open.insert({id, f.tokens, more, f.seconds});
  }
  void put(int id, int s) {
    Filling& filling = fillings_[static_cast<std::size_t>(id)];
    filling.shorts.push_back(s);
    filling.tokens += length(s);
    filling.seconds += cost_.slice(0, length(s));
  }

  // Chunks of the whole group; the sequences are sorted, the longest first.
  void pack_whole(const std::vector<int>& shorts) {
    if (shorts.empty()) return;
    const Tokens least = length(shorts.back());
    const Seconds limit = options_.loosen_limit > 0.0 ? target_seconds_ * options_.loosen_limit
                                                      : std::numeric_limits<double>::infinity();
    BucketIndex open;
    for (int id = 0; id < static_cast<int>(fillings_.size()); ++id) reopen(open, id, least);
    for (const int sequence : shorts) {
      const Tokens tokens = length(sequence);
      const Seconds seconds = cost_.slice(0, tokens);
      std::optional<Bucket> bucket = open.take_best(tokens, target_seconds_ - seconds);
      if (!bucket) {
        bucket = open.take_shortest(tokens, limit - seconds);
        if (bucket) target_seconds_ = std::max(target_seconds_, bucket->seconds + seconds);
      }
      if (!bucket) {
        bucket = Bucket{.id = static_cast<int>(fillings_.size())};
        fillings_.push_back({.tail_of = {}, .shorts = {}, .seconds = cost_.per_chunk});
        target_seconds_ = std::max(target_seconds_, cost_.per_chunk + seconds);
      }
      put(bucket->id, sequence);
      reopen(open, bucket->id, least);
    }
  }

  Chunking collect() {
    std::vector<int> cut_order(cuts_.size());
    std::iota(cut_order.begin(), cut_order.end(), 0);
    std::stable_sort(cut_order.begin(), cut_order.end(), [&](int a, int b) {
      const Cut& x = cuts_[static_cast<std::size_t>(a)];
      const Cut& y = cuts_[static_cast<std::size_t>(b)];
      if (x.slices.size() != y.slices.size()) return x.slices.size() > y.slices.size();
      return x.seconds > y.seconds;
    });
    std::vector<int> batched;
    for (int id = 0; id < static_cast<int>(fillings_.size()); ++id) {
      if (!fillings_[static_cast<std::size_t>(id)].tail_of) batched.push_back(id);
    }
    std::stable_sort(batched.begin(), batched.end(), [&](int a, int b) {
      const Filling& x = fillings_[static_cast<std::size_t>(a)];
      const Filling& y = fillings_[static_cast<std::size_t>(b)];
      if (x.seconds != y.seconds) return x.seconds > y.seconds;
      return x.tokens > y.tokens;
    });

    Chunking result;
    result.target_seconds = target_seconds_;
    result.target_tokens = target_tokens_;
    for (const int c : cut_order) {
      const Cut& cut = cuts_[static_cast<std::size_t>(c)];
      const int begin = static_cast<int>(result.chunks.size());
      for (const Slice& slice : cut.slices) add(result, ChunkKind::kSplit, {slice});
      add_shorts(result.chunks.back(), fillings_[static_cast<std::size_t>(cut.bucket)]);
      if (result.chunks.back().slices.size() > 1) result.chunks.back().kind = ChunkKind::kHybrid;
      result.groups.push_back({begin, static_cast<int>(result.chunks.size())});
    }
    for (const int id : batched) {
      const int begin = static_cast<int>(result.chunks.size());
      add(result, ChunkKind::kBatched, {});
      const Filling& filling = fillings_[static_cast<std::size_t>(id)];
      add_shorts(result.chunks.back(), filling);
      result.chunks.back().degree = filling.degree;
      result.chunks.back().groups = filling.groups;
      result.groups.push_back({begin, begin + 1});
    }
    for (const Chunk& chunk : result.chunks) result.seconds.push_back(cost_.chunk(chunk));
    // The last chunks are the batched ones, of which those in sub-groups take less.
    const std::size_t first = result.chunks.size() - batched.size();
    for (std::size_t i = 0; i < batched.size(); ++i) {
      const Filling& filling = fillings_[static_cast<std::size_t>(batched[i])];
      if (filling.degree > 0) result.seconds[first + i] = filling.seconds;
    }
    return result;
  }

  static void add(Chunking& result, ChunkKind kind, std::vector<Slice> slices) {
    result.chunks.push_back({.kind = kind, .slices = std::move(slices), .keeping = {}});
  }
  void add_shorts(Chunk& chunk, const Filling& filling) const {
    for (const int s : filling.shorts) chunk.slices.push_back({SequenceId(s), 0, length(s)});
  }
  Tokens length(int sequence) const { return sequences_[static_cast<std::size_t>(sequence)]; }

  const std::vector<Tokens>& sequences_;
  const ChunkSeconds cost_;
  const ChunkingOptions& options_;
  std::vector<Tokens> mesh_;
  std::vector<int> shorts_;
  std::vector<Cut> cuts_;
  std::vector<Filling> fillings_;  // tails and whole sequences first
  Seconds target_seconds_ = 0.0;
  Tokens target_tokens_ = 0;
};

}  // namespace

double Chunking::spread() const {
  if (seconds.empty()) return 0.0;
  const Seconds sum = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  const Seconds most = *std::max_element(seconds.begin(), seconds.end());
  return sum > 0.0 ? most * static_cast<double>(seconds.size()) / sum - 1.0 : 0.0;
}

std::string Chunking::spread_cause() const {
  constexpr double kEven = 0.05;
  if (spread() <= kEven) return {};
  const auto slowest = static_cast<std::size_t>(
      std::distance(seconds.begin(), std::max_element(seconds.begin(), seconds.end())));
  const Seconds enough = seconds[slowest] * (1.0 - kEven);
  int limited = 0;
  int tails = 0;
  int slices = 0;
  int rests = 0;
  for (const ChunkGroup& group : groups) {
    for (int k = group.begin; k < group.end; ++k) {
      const auto index = static_cast<std::size_t>(k);
      if (seconds[index] >= enough) continue;
      if (static_cast<double>(chunks[index].tokens()) >=
          (1.0 - kEven) * static_cast<double>(target_tokens)) {
        ++limited;
      } else if (chunks[index].kind == ChunkKind::kBatched) {
        ++rests;
      } else {
        ++(k + 1 == group.end ? tails : slices);
      }
    }
  }
  std::string text;
  const auto add = [&](int count, const std::string& one, const std::string& many) {
    if (count == 0) return;
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + (count == 1 ? one : many);
  };
  add(limited, "chunk at the limit of ", "chunks at the limit of ");
  if (limited > 0) text += format_count(target_tokens) + " tokens";
  add(tails, "last slice that short sequences did not fill",
      "last slices that short sequences did not fill");
  add(slices, "slice", "slices");
  add(rests, "chunk of what was left over", "chunks of what was left over");
  const Chunk& chunk = chunks[slowest];
  if (chunk.kind == ChunkKind::kBatched && chunk.slices.size() == 1) {
    text += (text.empty() ? "" : "; ") + std::string("the slowest is one whole sequence of ") +
            format_count(chunk.tokens()) + " tokens";
  }
  return text;
}

std::vector<Tokens> slice_mesh(Tokens longest, int slices, Tokens capacity,
                               const ChunkSeconds& cost) {
  INFINIPIPE_ASSERT(longest >= 1 && slices >= 1 && capacity >= 0, "slice_mesh");
  const Tokens cap = capacity > 0 ? capacity : longest;
  const Tokens count = std::max(std::min<Tokens>(slices, longest), (longest + cap - 1) / cap);
  const ChunkSeconds line = with_slope(cost);
  if (line.per_context > 0.0) return context_mesh(longest, count, cap, line);
  const Seconds total = line.tokens(0, longest);
  std::vector<Tokens> mesh;
  Tokens at = 0;

  // The first slices are the ones with most tokens, as they have the least context. While an equal
  // share of the remaining time would have more tokens than the capacity, a slice of just the
  // capacity is cut off.
  Tokens left = count;
  while (left > 1) {
    const Seconds done = line.tokens(0, at);
    const double next = tokens_of(done + (total - done) / static_cast<double>(left), line);
    if (next - static_cast<double>(at) <= static_cast<double>(cap)) break;
    at += cap;
    mesh.push_back(at);
    --left;
  }

  // The rest is cut in equal shares of its time.
  const Seconds done = line.tokens(0, at);
  for (Tokens i = 1; i <= left; ++i) {
    Tokens end = longest;
    if (i < left) {
      const double share = static_cast<double>(i) / static_cast<double>(left);
      end = std::llround(tokens_of(done + (total - done) * share, line));
      end = std::min(std::max(end, at + 1), std::min(at + cap, longest - (left - i)));
    }
    at = end;
    mesh.push_back(at);
  }
  return mesh;
}

Chunking process_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                           const ChunkingOptions& options) {
  INFINIPIPE_ASSERT(options.slices >= 1 && options.capacity >= 0 && options.pack_tokens >= 0,
                    "chunking options");
  return Processor(sequences, cost, options).run();
}

}  // namespace infinipipe

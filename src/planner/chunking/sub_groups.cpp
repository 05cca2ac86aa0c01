#include "planner/chunking/sub_groups.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace infinipipe {

namespace {

// What one sub-group of a chunk runs.
struct Bin {
  std::vector<int> sequences;
  Seconds seconds = 0.0;
  Tokens tokens = 0;
};

// The sub-groups of one size.
//
// Sequences are dealt longest first, each to the bin that has least to do; a bin is a sub-group of
// some chunk. There are about as few chunks as can hold the sequences within the target. Bins of
// like time then make a chunk. What is missing to the slowest bin of a chunk is filled with
// sequences that smaller sub-groups would otherwise run: it costs nothing here.
class Dealer final {
 public:
  Dealer(const std::vector<Tokens>& lengths, const DealOptions& options, const SubGroupCost& cost)
      : lengths_(lengths),
        options_(options),
        cost_(cost),
        bins_a_chunk_(static_cast<std::size_t>(options.devices / cost.degree)),
        most_tokens_(options.capacity / static_cast<Tokens>(bins_a_chunk_)) {}

  // `fillers`: sequences of smaller sub-groups, longest first; those that are used are taken out.
  std::vector<DealtChunk> deal(const std::vector<int>& members, std::vector<int>& fillers) {
    if (members.empty()) return {};
    std::size_t chunks = least_chunks(members);
    while (!try_deal(members, chunks)) chunks += 1 + chunks / 16;
    std::stable_sort(bins_.begin(), bins_.end(),
                     [](const Bin& a, const Bin& b) { return a.seconds > b.seconds; });
    fill(fillers);
    gather_like_tokens();
    std::vector<DealtChunk> result;
    for (std::size_t c = 0; c < chunks; ++c) {
      DealtChunk& chunk = result.emplace_back();
      chunk.degree = cost_.degree;
      for (std::size_t g = 0; g < bins_a_chunk_; ++g) {
        Bin& bin = bins_[c * bins_a_chunk_ + g];
        chunk.seconds = std::max(chunk.seconds, cost_.seconds.per_chunk + bin.seconds);
        chunk.groups.push_back(std::move(bin.sequences));
      }
    }
    return result;
  }

 private:
  Tokens length(int s) const { return lengths_[static_cast<std::size_t>(s)]; }
  Seconds seconds_of(int s) const { return cost_.seconds.slice(0, length(s)); }

  void put(Bin& bin, int s) const {
    bin.sequences.push_back(s);
    bin.seconds += seconds_of(s);
    bin.tokens += length(s);
  }

  // As many as their time and tokens ask for, at least; none needs more than one for itself.
  std::size_t least_chunks(const std::vector<int>& members) const {
    Seconds seconds = 0.0;
    Tokens tokens = 0;
    for (const int s : members) {
      seconds += seconds_of(s);
      tokens += length(s);
    }
    const auto bins = static_cast<double>(bins_a_chunk_);
    const Seconds room = (options_.target - cost_.seconds.per_chunk) * bins;
    const double by_time = room > 0.0 ? seconds / room : 0.0;
    const double by_tokens =
        static_cast<double>(tokens) / (static_cast<double>(most_tokens_) * bins);
    const double most = std::min(std::max(by_time, by_tokens), static_cast<double>(members.size()));
    return static_cast<std::size_t>(std::max(1.0, std::ceil(most * (1.0 - 1e-9))));
  }

  // False where some sequence finds no bin within target and capacity.
  bool try_deal(const std::vector<int>& members, std::size_t chunks) {
    using Least = std::pair<Seconds, std::size_t>;
    std::priority_queue<Least, std::vector<Least>, std::greater<>> open;
    bins_.assign(chunks * bins_a_chunk_, {});
    for (std::size_t b = 0; b < bins_.size(); ++b) open.emplace(0.0, b);
    for (const int s : members) {
      // A bin without the tokens for this sequence is closed, though a later one might have fitted.
      while (!open.empty() && bins_[open.top().second].tokens + length(s) > most_tokens_)
        open.pop();
      if (open.empty()) return false;
      Bin& bin = bins_[open.top().second];
      if (cost_.seconds.per_chunk + bin.seconds + seconds_of(s) > options_.target * (1.0 + 1e-9))
        return false;
      const std::size_t b = open.top().second;
      open.pop();
      put(bin, s);
      open.emplace(bin.seconds, b);
    }
    return true;
  }

  // Puts into each bin the longest fillers, one after the other, that do not make it slower than
  // the slowest of its chunk.
  void fill(std::vector<int>& fillers) {
    std::vector<std::size_t> next(fillers.size() + 1);  // itself, or behind it where it is used
    std::iota(next.begin(), next.end(), std::size_t{0});
    const auto unused = [&](std::size_t f) {
      while (next[f] != f) f = next[f] = next[next[f]];
      return f;
    };
    for (std::size_t b = 0; b < bins_.size(); ++b) {
      Bin& bin = bins_[b];
      const Seconds slowest = bins_[b - b % bins_a_chunk_].seconds;
      const auto too_long = [&](int s) {
        return bin.seconds + seconds_of(s) > slowest || bin.tokens + length(s) > most_tokens_;
      };
      for (std::size_t f = unused(0); f < fillers.size(); f = unused(f)) {
        if (too_long(fillers[f])) {  // and so are all that are as long
          const auto first = std::partition_point(fillers.begin() + static_cast<std::ptrdiff_t>(f),
                                                  fillers.end(), too_long);
          f = static_cast<std::size_t>(first - fillers.begin());
          continue;
        }
        put(bin, fillers[f]);
        next[f] = f + 1;
      }
    }
    std::vector<int> rest;
    for (std::size_t f = unused(0); f < fillers.size(); f = unused(f + 1)) {
      rest.push_back(fillers[f]);
    }
    fillers = std::move(rest);
  }

  // Puts bins with like tokens into one chunk, of whose memory the fullest counts, where that makes
  // chunks hardly slower.
  void gather_like_tokens() {
    constexpr double kHardly = 1.003;
    const auto seconds = [&](const std::vector<Bin>& bins) {
      Seconds sum = 0.0;
      for (std::size_t begin = 0; begin < bins.size(); begin += bins_a_chunk_) {
        Seconds slowest = 0.0;
        for (std::size_t b = 0; b < bins_a_chunk_; ++b) {
          slowest = std::max(slowest, bins[begin + b].seconds);
        }
        sum += slowest;
      }
      return sum;
    };
    std::vector<Bin> by_tokens = bins_;
    std::stable_sort(by_tokens.begin(), by_tokens.end(),
                     [](const Bin& a, const Bin& b) { return a.tokens > b.tokens; });
    if (seconds(by_tokens) <= kHardly * seconds(bins_)) bins_ = std::move(by_tokens);
  }

  const std::vector<Tokens>& lengths_;
  const DealOptions& options_;
  const SubGroupCost& cost_;
  std::size_t bins_a_chunk_;
  Tokens most_tokens_;
  std::vector<Bin> bins_;
};

}  // namespace

int cheapest_sub_group(Tokens length, const DealOptions& options) {
  int best = -1;
  Seconds least = options.whole.slice(0, length) * options.devices;
  for (std::size_t i = options.costs.size(); i-- > 0;) {
    const SubGroupCost& cost = options.costs[i];
    const Seconds seconds = cost.seconds.slice(0, length);
    if (cost.seconds.per_chunk + seconds > options.target) continue;
    if (length > options.capacity / (options.devices / cost.degree)) continue;
    if (seconds * cost.degree >= least) continue;
    least = seconds * cost.degree;
    best = static_cast<int>(i);
  }
  return best;
}

std::vector<DealtChunk> deal_to_sub_groups(const std::vector<int>& members,
                                           const std::vector<Tokens>& lengths,
                                           const DealOptions& options, std::vector<int>& left) {
  const auto length = [&](int s) { return lengths[static_cast<std::size_t>(s)]; };
  const auto longer = [&](int a, int b) { return length(a) > length(b); };
  left.clear();
  std::vector<std::vector<int>> classes(options.costs.size());
  for (const int s : members) {
    const int best = cheapest_sub_group(length(s), options);
    (best < 0 ? left : classes[static_cast<std::size_t>(best)]).push_back(s);
  }
  std::vector<DealtChunk> result;
  for (std::size_t i = options.costs.size(); i-- > 0;) {
    // All that smaller sub-groups run may fill these.
    std::vector<int> fillers;
    for (std::size_t k = 0; k < i; ++k) {
      fillers.insert(fillers.end(), classes[k].begin(), classes[k].end());
    }
    std::stable_sort(fillers.begin(), fillers.end(), longer);
    Dealer dealer(lengths, options, options.costs[i]);
    std::vector<DealtChunk> chunks = dealer.deal(classes[i], fillers);
    std::vector<bool> unused(lengths.size(), false);
    for (const int s : fillers) unused[static_cast<std::size_t>(s)] = true;
    for (std::size_t k = 0; k < i; ++k) {
      std::erase_if(classes[k], [&](int s) { return !unused[static_cast<std::size_t>(s)]; });
    }
    for (DealtChunk& chunk : chunks) {
      Seconds whole = options.whole.per_chunk;
      for (const auto& group : chunk.groups) {
        for (const int s : group) whole += options.whole.slice(0, length(s));
      }
      if (chunk.seconds < whole) {
        result.push_back(std::move(chunk));
        continue;
      }
      for (const auto& group : chunk.groups) left.insert(left.end(), group.begin(), group.end());
    }
  }
  std::stable_sort(left.begin(), left.end(), longer);
  return result;
}

}  // namespace infinipipe

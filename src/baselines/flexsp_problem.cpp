#include "baselines/flexsp_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>

#include "baselines/flexsp_bound.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTie = 1e-12;  // relative: what is not faster by this is no improvement
constexpr int kBisections = 12;
constexpr int kMoves = 400;
constexpr int kAscent = 40;

struct Groups {
  std::vector<FlexGroup> all;  // larger degrees first
  Seconds seconds = kInfinity;
};

class Solver final {
 public:
  Solver(const std::vector<Tokens>& lengths, const std::vector<DeviceGroupCost>& costs, int devices,
         const FlexLimits& limits)
      : lengths_(lengths),
        costs_(costs),
        devices_(devices),
        limits_(limits),
        bound_(lengths, costs, devices) {
    for (const Tokens length : lengths_) {
      for (const DeviceGroupCost& cost : costs_) seconds_.push_back(cost.sequence(length));
    }
  }

  FlexAssignment solve();

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  // Member `member` of the slowest group goes to `group`, in exchange for its member `other`.
  struct Move {
    Seconds end = kInfinity;
    std::size_t member = 0;
    std::size_t group = 0;
    std::size_t other = kNone;
  };
  struct Entry {
    Configuration configuration;
    Seconds bound = 0.0;
    Seconds greedy = kInfinity;
  };

  Seconds seconds(int sequence, int choice) const {
    return seconds_[static_cast<std::size_t>(sequence) * costs_.size() +
                    static_cast<std::size_t>(choice)];
  }
  const DeviceGroupCost& cost(const FlexGroup& group) const {
    return costs_[static_cast<std::size_t>(group.choice)];
  }
  Tokens length(int sequence) const { return lengths_[static_cast<std::size_t>(sequence)]; }
  Seconds busy(const FlexGroup& group) const { return cost(group).busy(group.load); }
  bool takes(const FlexGroup& group, int sequence) const {
    return group.load.tokens + length(sequence) <= cost(group).capacity();
  }
  void put(FlexGroup& group, int sequence) const {
    group.members.push_back(sequence);
    group.load.add(length(sequence));
  }

  bool enumerate(std::vector<Configuration>& found) const;
  std::vector<Configuration> seeds() const;
  std::vector<Configuration> neighbours(const Configuration& of) const;
  Groups open(const Configuration& configuration) const;
  void measure(Groups& groups) const;
  std::optional<Groups> first_to_end(const Configuration& configuration) const;
  std::optional<Groups> within(const Configuration& configuration, Seconds limit) const;
  void improve(Groups& groups) const;
  void offer(std::optional<Groups> groups);
  void refine(const Entry& entry);
  bool better(Seconds a, Seconds b) const { return a < b * (1.0 - kTie); }

  // Exact search below one configuration; false where the nodes ran out.
  bool exhaust(Groups& groups, int next, double work_left);

  const std::vector<Tokens>& lengths_;
  const std::vector<DeviceGroupCost>& costs_;
  int devices_;
  FlexLimits limits_;
  FlexBound bound_;
  std::vector<Seconds> seconds_;  // sequence-major
  std::vector<double> cheapest_;  // device-seconds of each sequence in the configuration at hand
  Groups best_;
  int nodes_ = 0;
};

bool Solver::enumerate(std::vector<Configuration>& found) const {
  Configuration now(costs_.size(), 0);
  const auto visit = [&](const auto& self, std::size_t choice, int left) -> bool {
    const int degree = costs_[choice].degree();
    if (choice == 0) {
      if (left % degree != 0) return true;
      now[0] = left / degree;
      found.push_back(now);
      return static_cast<int>(found.size()) <= limits_.configurations;
    }
    for (int count = left / degree; count >= 0; --count) {
      now[choice] = count;
      if (!self(self, choice - 1, left - count * degree)) return false;
    }
    now[choice] = 0;
    return true;
  };
  return visit(visit, costs_.size() - 1, devices_);
}

// Groups of one degree each, as far as the devices allow.
std::vector<Configuration> Solver::seeds() const {
  std::vector<Configuration> result;
  for (std::size_t c = 0; c < costs_.size(); ++c) {
    if (devices_ % costs_[c].degree() != 0) continue;
    Configuration configuration(costs_.size(), 0);
    configuration[c] = devices_ / costs_[c].degree();
    result.push_back(std::move(configuration));
  }
  return result;
}

// One group split in halves, or two merged.
std::vector<Configuration> Solver::neighbours(const Configuration& of) const {
  std::vector<Configuration> result;
  for (std::size_t c = 0; c + 1 < costs_.size(); ++c) {
    if (costs_[c].degree() * 2 != costs_[c + 1].degree()) continue;
    if (of[c + 1] > 0) {
      result.push_back(of);
      result.back()[c + 1] -= 1;
      result.back()[c] += 2;
    }
    if (of[c] > 1) {
      result.push_back(of);
      result.back()[c] -= 2;
      result.back()[c + 1] += 1;
    }
  }
  return result;
}

Groups Solver::open(const Configuration& configuration) const {
  Groups groups;
  for (std::size_t c = configuration.size(); c-- > 0;) {
    for (int i = 0; i < configuration[c]; ++i) {
      groups.all.push_back(
          {.choice = static_cast<int>(c), .members = {}, .load = costs_[c].no_load()});
    }
  }
  return groups;
}

void Solver::measure(Groups& groups) const {
  groups.seconds = 0.0;
  for (const FlexGroup& group : groups.all) {
    if (group.load.tokens == 0) continue;
    groups.seconds = std::max(groups.seconds, cost(group).seconds(group.load));
  }
}

std::optional<Groups> Solver::first_to_end(const Configuration& configuration) const {
  Groups groups = open(configuration);
  std::vector<Seconds> ends;
  for (const FlexGroup& group : groups.all) ends.push_back(cost(group).constant());
  for (int i = 0; i < static_cast<int>(lengths_.size()); ++i) {
    std::size_t best = groups.all.size();
    Seconds least = kInfinity;
    for (std::size_t g = 0; g < groups.all.size(); ++g) {
      if (!takes(groups.all[g], i)) continue;
      const Seconds end = ends[g] + seconds(i, groups.all[g].choice);
      if (end < least) {
        least = end;
        best = g;
      }
    }
    if (best == groups.all.size()) return std::nullopt;
    put(groups.all[best], i);
    ends[best] = least;
  }
  measure(groups);
  return groups;
}

// MULTIFIT: longest first, each where it costs the least device time among groups that still end
// within the limit, the fullest of those first.
std::optional<Groups> Solver::within(const Configuration& configuration, Seconds limit) const {
  Groups groups = open(configuration);
  std::vector<Seconds> ends;
  for (const FlexGroup& group : groups.all) ends.push_back(cost(group).constant());
  for (int i = 0; i < static_cast<int>(lengths_.size()); ++i) {
    std::size_t best = groups.all.size();
    double least = kInfinity;
    Seconds latest = 0.0;
    for (std::size_t g = 0; g < groups.all.size(); ++g) {
      const int choice = groups.all[g].choice;
      const Seconds taken = seconds(i, choice);
      if (ends[g] + taken > limit || !takes(groups.all[g], i)) continue;
      const double work = taken * costs_[static_cast<std::size_t>(choice)].degree();
      if (work < least || (work == least && ends[g] > latest)) {
        least = work;
        latest = ends[g];
        best = g;
      }
    }
    if (best == groups.all.size()) return std::nullopt;
    put(groups.all[best], i);
    ends[best] += seconds(i, groups.all[best].choice);
  }
  measure(groups);
  return groups;
}

// Moves one sequence off the slowest group, or swaps it for a cheaper one, while that helps.
void Solver::improve(Groups& groups) const {
  for (int move = 0; move < kMoves; ++move) {
    std::size_t slow = 0;
    for (std::size_t g = 1; g < groups.all.size(); ++g) {
      if (busy(groups.all[g]) > busy(groups.all[slow])) slow = g;
    }
    FlexGroup& from = groups.all[slow];
    const Seconds now = busy(from);
    Move best;
    for (std::size_t m = 0; m < from.members.size(); ++m) {
      const int a = from.members[m];
      if (m > 0 && length(a) == length(from.members[m - 1])) continue;
      for (std::size_t g = 0; g < groups.all.size(); ++g) {
        if (g == slow) continue;
        const FlexGroup& to = groups.all[g];
        const Seconds end = busy(to);
        const Seconds without = now - seconds(a, from.choice);
        const Seconds moved = std::max(without, end + seconds(a, to.choice));
        if (moved < best.end && takes(to, a)) best = {moved, m, g, kNone};
        for (std::size_t o = 0; o < to.members.size(); ++o) {
          const int b = to.members[o];
          if (length(b) >= length(a) || (o > 0 && length(b) == length(to.members[o - 1]))) continue;
          const Seconds swapped = std::max(without + seconds(b, from.choice),
                                           end - seconds(b, to.choice) + seconds(a, to.choice));
          if (swapped < best.end && to.load.tokens - length(b) + length(a) <= cost(to).capacity()) {
            best = {swapped, m, g, o};
          }
        }
      }
    }
    if (!better(best.end, now)) break;
    FlexGroup& to = groups.all[best.group];
    const int a = from.members[best.member];
    from.members.erase(from.members.begin() + static_cast<std::ptrdiff_t>(best.member));
    from.load.remove(length(a));
    if (best.other != kNone) {
      const int b = to.members[best.other];
      to.members.erase(to.members.begin() + static_cast<std::ptrdiff_t>(best.other));
      to.load.remove(length(b));
      from.members.insert(std::lower_bound(from.members.begin(), from.members.end(), b), b);
      from.load.add(length(b));
    }
    to.members.insert(std::lower_bound(to.members.begin(), to.members.end(), a), a);
    to.load.add(length(a));
  }
  measure(groups);
}

void Solver::offer(std::optional<Groups> groups) {
  if (groups && better(groups->seconds, best_.seconds)) best_ = std::move(*groups);
}

void Solver::refine(const Entry& entry) {
  std::optional<Groups> found = first_to_end(entry.configuration);
  if (found) {
    improve(*found);
    offer(found);
  }
  Seconds low = entry.bound;
  Seconds high = best_.seconds < kInfinity ? best_.seconds : 4.0 * entry.bound;
  std::optional<Groups> packed;
  for (int step = 0; step < kBisections && low < high * (1.0 - 1e-6); ++step) {
    // The upper end first: where it fails there is nothing to find here.
    const Seconds limit = step == 0 ? high : 0.5 * (low + high);
    std::optional<Groups> next = within(entry.configuration, limit);
    if (next) {
      high = std::min(limit, next->seconds);
      packed = std::move(next);
    } else if (step == 0) {
      return;
    } else {
      low = limit;
    }
  }
  if (!packed) return;
  improve(*packed);
  offer(std::move(packed));
}

bool Solver::exhaust(Groups& groups, int next, double work_left) {
  if (++nodes_ > limits_.nodes) return false;
  if (next == static_cast<int>(lengths_.size())) {
    measure(groups);
    if (better(groups.seconds, best_.seconds)) best_ = groups;
    return true;
  }
  const double after = work_left - cheapest_[static_cast<std::size_t>(next)];
  // Where does it go: alike groups (same degree, same load) are tried once.
  std::set<std::tuple<int, Tokens, double>> tried;
  for (FlexGroup& group : groups.all) {
    if (!takes(group, next)) continue;
    if (!tried.insert({group.choice, group.load.tokens, group.load.token2}).second) continue;
    if (!better(busy(group) + seconds(next, group.choice), best_.seconds)) continue;
    put(group, next);
    double work = after;
    for (const FlexGroup& g : groups.all) {
      work += cost(g).degree() * (busy(g) - cost(g).constant());
    }
    Seconds constant = kInfinity;
    for (const DeviceGroupCost& c : costs_) constant = std::min(constant, c.constant());
    bool complete = true;
    if (better(constant + work / devices_, best_.seconds)) {
      complete = exhaust(groups, next + 1, after);
    }
    group.members.pop_back();
    group.load.remove(length(next));
    if (!complete) return false;
  }
  return true;
}

FlexAssignment Solver::solve() {
  FlexAssignment result;
  result.lower_bound = bound_.overall();
  if (lengths_.empty()) {
    result.feasible = result.optimal = true;
    result.lower_bound = 0.0;
    return result;
  }
  if (result.lower_bound == kInfinity) return result;  // a sequence that no degree holds

  std::vector<Entry> entries;
  std::vector<Configuration> all;
  const bool complete = enumerate(all);
  const auto consider = [&](Configuration configuration) {
    Entry entry{.configuration = std::move(configuration)};
    entry.bound = bound_.of(entry.configuration, best_.seconds, 0);
    if (better(entry.bound, best_.seconds)) {
      if (std::optional<Groups> groups = first_to_end(entry.configuration)) {
        entry.greedy = groups->seconds;
        offer(std::move(groups));
      }
    }
    entries.push_back(std::move(entry));
  };
  if (complete) {
    for (Configuration& configuration : all) consider(std::move(configuration));
  } else {
    // Too many: from every homogeneous one downhill by splitting and merging.
    std::set<Configuration> seen;
    for (Configuration& seed : seeds()) {
      Configuration at = std::move(seed);
      Seconds here = kInfinity;
      for (bool moved = true; moved;) {
        moved = false;
        std::vector<Configuration> near = neighbours(at);
        if (here == kInfinity) near.push_back(at);
        Configuration next = at;
        for (Configuration& configuration : near) {
          if (!seen.insert(configuration).second) continue;
          consider(configuration);
          if (!better(entries.back().greedy, here)) continue;
          here = entries.back().greedy;
          next = std::move(configuration);
          moved = true;
        }
        at = std::move(next);
      }
    }
  }

  // Closer bounds, most promising first.
  for (Entry& entry : entries) {
    if (better(entry.bound, best_.seconds)) {
      entry.bound = bound_.of(entry.configuration, best_.seconds, kAscent);
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::min(a.greedy, 4.0 * a.bound) + a.bound <
           std::min(b.greedy, 4.0 * b.bound) + b.bound;
  });
  int refined = 0;
  for (const Entry& entry : entries) {
    if (!better(entry.bound, best_.seconds)) continue;
    if (refined++ == limits_.refined) break;
    refine(entry);
  }

  // Proof, as far as the nodes reach.
  bool proven = complete;
  Seconds bound = best_.seconds;
  for (const Entry& entry : entries) {
    if (!better(entry.bound, best_.seconds)) continue;
    bool exhausted = false;
    if (nodes_ < limits_.nodes && static_cast<int>(lengths_.size()) <= limits_.exact_sequences) {
      Groups groups = open(entry.configuration);
      cheapest_.clear();
      double work = 0.0;
      for (int i = 0; i < static_cast<int>(lengths_.size()); ++i) {
        double least = kInfinity;
        for (std::size_t c = 0; c < costs_.size(); ++c) {
          if (entry.configuration[c] == 0 || length(i) > costs_[c].capacity()) continue;
          least = std::min(least, seconds(i, static_cast<int>(c)) * costs_[c].degree());
        }
        cheapest_.push_back(least);
        work += least;
      }
      exhausted = work == kInfinity || exhaust(groups, 0, work);
    }
    if (!exhausted) {
      proven = false;
      bound = std::min(bound, entry.bound);
    }
  }
  result.lower_bound =
      std::max(result.lower_bound, complete ? std::min(bound, best_.seconds) : 0.0);
  if (best_.seconds == kInfinity) {
    if (result.lower_bound == kInfinity) result.lower_bound = bound_.overall();
    return result;
  }
  result.lower_bound = std::min(result.lower_bound, best_.seconds);
  result.feasible = true;
  result.optimal = proven || !better(result.lower_bound, best_.seconds);
  result.seconds = best_.seconds;
  for (FlexGroup& group : best_.all) {
    if (!group.members.empty()) result.groups.push_back(std::move(group));
  }
  return result;
}

}  // namespace

FlexAssignment assign_groups(const std::vector<Tokens>& lengths,
                             const std::vector<DeviceGroupCost>& costs, int devices,
                             const FlexLimits& limits) {
  INFINIPIPE_ASSERT(!costs.empty() && devices >= costs.front().degree(), "no group to assign to");
  INFINIPIPE_ASSERT(std::is_sorted(lengths.rbegin(), lengths.rend()), "lengths not descending");
  return Solver(lengths, costs, devices, limits).solve();
}

}  // namespace infinipipe

#include "data/sampler.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr const char* kFormat = "infinipipe.sampler";
constexpr const char* kSameRun = "resume with the data and settings of the first run";

std::vector<double> weights_of(const std::vector<SampledSet>& sets) {
  std::vector<double> weights;
  for (const SampledSet& set : sets) weights.push_back(set.weight);
  return weights;
}

}  // namespace

void require_member(const JsonView& state, const char* key, std::int64_t own) {
  const JsonView member = state.at(key);
  if (const std::int64_t found = member.integer(); found != own) {
    member.fail(std::to_string(found), std::to_string(own), kSameRun);
  }
}

Sampler::Sampler(std::vector<SampledSet> sets, int per_step, std::int64_t seed)
    : sets_(std::move(sets)), blend_(weights_of(sets_)), per_step_(per_step), seed_(seed) {
  first_.push_back(0);
  for (const SampledSet& set : sets_) {
    if (set.documents < 1) {
      throw InputError("sampler", "found " + std::to_string(set.documents) + " documents",
                       "expected at least 1");
    }
    first_.push_back(first_.back() + set.documents);
  }
  if (per_step < 1) {
    throw InputError("sampler", "found " + std::to_string(per_step) + " documents a step",
                     "expected at least 1");
  }
}

Sampler::Sampler(std::int64_t documents, int per_step, std::int64_t seed)
    : Sampler(std::vector<SampledSet>{{documents, 1.0}}, per_step, seed) {}

std::int64_t Sampler::position(std::int64_t step) const {
  const std::int64_t last = std::numeric_limits<std::int64_t>::max() / per_step_ - 1;
  if (step < 0 || step > last) {
    throw InputError("sampler", "found step " + std::to_string(step),
                     "expected 0 to " + std::to_string(last));
  }
  return step * per_step_;
}

std::vector<std::int64_t> Sampler::sample(std::int64_t step) const {
  Walk walk(*this, position(step));
  std::vector<std::int64_t> result(static_cast<std::size_t>(per_step_));
  for (std::int64_t& document : result) document = walk.next();
  return result;
}

// Sets of as many documents are not to go through them in the same order.
Permutation Sampler::epoch(std::size_t set, std::int64_t number) const {
  auto seed = static_cast<std::uint64_t>(seed_);
  if (set > 0) seed = mix(seed ^ mix(set));
  return {sets_[set].documents, seed, static_cast<std::uint64_t>(number)};
}

Sampler::Walk::Walk(const Sampler& sampler, std::int64_t position)
    : sampler_(sampler), position_(position), epochs_(sampler.sets_.size()) {}

std::int64_t Sampler::Walk::next() {
  const Blend::Place place = sampler_.blend_.at(position_++);
  const std::int64_t documents = sampler_.sets_[place.set].documents;
  const std::int64_t number = place.index / documents;
  std::optional<Epoch>& epoch = epochs_[place.set];
  if (!epoch || epoch->number != number) {
    epoch.emplace(Epoch{number, sampler_.epoch(place.set, number)});
  }
  return sampler_.first_[place.set] + epoch->order(place.index % documents);
}

std::vector<double> Sampler::epochs(std::int64_t position) const {
  std::vector<double> epochs;
  for (const std::int64_t count : blend_.counts(position)) {
    epochs.push_back(static_cast<double>(count) /
                     static_cast<double>(sets_[epochs.size()].documents));
  }
  return epochs;
}

double Sampler::places_per_epoch(std::size_t set) const {
  return static_cast<double>(sets_[set].documents) / blend_.share(set);
}

Json Sampler::sets_state() const {
  Json sets = Json::array();
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    sets.push_back({{"documents", sets_[i].documents}, {"share", blend_.units()[i]}});
  }
  return sets;
}

Json Sampler::state(std::int64_t step) const {
  Json state = {{"format", kFormat},        {"version", 1},         {"seed", seed_}, {"step", step},
                {"documents", documents()}, {"per_step", per_step_}};
  if (sets_.size() > 1) state["sets"] = sets_state();
  return state;
}

std::int64_t Sampler::restore(const JsonView& state) const {
  check_format(state, kFormat);
  require_member(state, "documents", documents());
  require_member(state, "per_step", per_step_);
  require_member(state, "seed", seed_);
  const std::size_t sets = state.has("sets") ? state.at("sets").size() : 1;
  if (sets != sets_.size()) {
    state.fail(std::to_string(sets) + " sets", std::to_string(sets_.size()), kSameRun);
  }
  for (std::size_t i = 0; sets > 1 && i < sets; ++i) {
    require_member(state.at("sets").at(i), "documents", sets_[i].documents);
    require_member(state.at("sets").at(i), "share", blend_.units()[i]);
  }
  return state.at("step").integer(0);
}

}  // namespace infinipipe

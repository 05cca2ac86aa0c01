#include "infinipipe/cost/profile.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::string_view kFormat = "infinipipe.profile";
constexpr const char* kContext = "seconds_per_context_token";
constexpr const char* kAttended = "attended_bytes_per_token";
constexpr const char* kLinkSpeed = "links.p2p.bytes_per_second";

template <class AnyDirection, class Visit>
void visit_direction(const std::string& name, AnyDirection& cost, const Visit& visit) {
  visit(name + ".seconds_per_token2", cost.seconds_per_token2);
  visit(name + ".seconds_per_token", cost.seconds_per_token);
  visit(name + ".seconds_per_chunk", cost.seconds_per_chunk);
  visit(name + ".seconds_per_slice", cost.seconds_per_slice);
}

// Calls visit(path, number) for every required number, in document order; the one list of names
// that reading and writing share. Path elements are separated by dots.
template <class AnyProfile, class Visit>
void visit_numbers(AnyProfile& profile, const Visit& visit) {
  const auto pair = [&](const std::string& name, auto& cost) {
    visit(name + ".forward_seconds_per_token", cost.forward_seconds_per_token);
    visit(name + ".backward_seconds_per_token", cost.backward_seconds_per_token);
  };
  visit_direction("forward", profile.forward, visit);
  visit_direction("backward", profile.backward, visit);
  pair("embedding", profile.embedding);
  pair("head", profile.head);
  auto& memory = profile.memory;
  visit("memory.activation_bytes_per_token", memory.activation_bytes_per_token);
  visit("memory.input_bytes_per_token", memory.input_bytes_per_token);
  visit("memory.kv_bytes_per_token", memory.kv_bytes_per_token);
  visit("memory.kv_grad_bytes_per_token", memory.kv_grad_bytes_per_token);
  visit("memory.head_bytes_per_token", memory.head_bytes_per_token);
  visit("memory.workspace_bytes", memory.workspace_bytes);
  visit("memory.state.bytes_per_layer", memory.state_bytes_per_layer);
  visit("memory.state.embedding_bytes", memory.state_embedding_bytes);
  visit("memory.state.head_bytes", memory.state_head_bytes);
  visit("memory.state.constant_bytes", memory.state_constant_bytes);
  visit("links.p2p.seconds", profile.links.p2p_seconds);
  visit(kLinkSpeed, profile.links.p2p_bytes_per_second);
  visit("links.p2p.bytes_per_token", profile.links.p2p_bytes_per_token);
  visit("links.all_to_all_bytes_per_token", profile.links.all_to_all_bytes_per_token);
  visit("device.memory_bytes", profile.device_memory_bytes);
}

// The numbers of the optional object of one level of keeping.
template <class AnyRemake, class Visit>
void visit_remake(const KeepLevel& level, AnyRemake& remake, const Visit& visit) {
  visit_direction(level.profile_field, remake.cost, visit);
  if (level.profile_bytes == nullptr) return;
  visit(std::string(level.profile_field) + "." + level.profile_bytes, remake.kept_bytes_per_token);
}

// Calls visit(level, its optional) for every level that has an object in the file.
template <class AnyProfile, class Visit>
void visit_levels(AnyProfile& profile, const Visit& visit) {
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (kKeepLevels[i].profile_field != nullptr) visit(kKeepLevels[i], profile.remake[i]);
  }
}

// The numbers of the optional object memory.layerwise.
template <class AnyLayerwise, class Visit>
void visit_layerwise(AnyLayerwise& layerwise, const Visit& visit) {
  visit("forward_bytes_per_token", layerwise.forward_bytes_per_token);
  visit("backward_bytes_per_token", layerwise.backward_bytes_per_token);
  visit("backward_bytes", layerwise.backward_bytes);
  visit("pending_bytes_per_token", layerwise.pending_bytes_per_token);
  visit("head_bytes_per_token", layerwise.head_bytes_per_token);
  visit("head_block_tokens", layerwise.head_block_tokens);
  visit("head_block_bytes_per_token", layerwise.head_block_bytes_per_token);
}

// The optional numbers of memory.state.
template <class AnyMemory, class Visit>
void visit_state_shares(AnyMemory& memory, const Visit& visit) {
  visit("gradient_share", memory.state_gradient_share);
  visit("optimizer_share", memory.state_optimizer_share);
}

// The optional number of every direction.
template <class AnyProfile, class Visit>
void visit_context(AnyProfile& profile, const Visit& visit) {
  visit("forward", profile.forward.seconds_per_context_token);
  visit("backward", profile.backward.seconds_per_context_token);
  visit_levels(profile, [&](const KeepLevel& level, auto& remake) {
    if (remake) visit(level.profile_field, remake->cost.seconds_per_context_token);
  });
}

template <class AnyLinks, class Visit>
void visit_bandwidths(AnyLinks& links, const Visit& visit) {
  visit("all_to_all", links.all_to_all);
  visit("all_gather", links.all_gather);
  visit("reduce_scatter", links.reduce_scatter);
}

JsonView follow(JsonView view, std::string_view path) {
  while (true) {
    const std::size_t dot = path.find('.');
    if (!view.json().is_object()) view.fail("an object");
    view = view.at(path.substr(0, dot));
    if (dot == std::string_view::npos) return view;
    path.remove_prefix(dot + 1);
  }
}

void store(Json& root, std::string_view path, Json value) {
  Json* at = &root;
  while (true) {
    const std::size_t dot = path.find('.');
    Json& child = (*at)[std::string(path.substr(0, dot))];
    if (dot == std::string_view::npos) {
      child = std::move(value);
      return;
    }
    if (!child.is_object()) child = Json::object();
    at = &child;
    path.remove_prefix(dot + 1);
  }
}

// Far beyond any machine, and near enough that no sum or product of a plan overflows.
constexpr double kMostSeconds = 1e6;   // of a unit of work: a token, a pair of tokens, a chunk
constexpr double kMostBytes = 1e18;    // and bytes per token, tokens
constexpr double kFastestLink = 1e18;  // bytes per second
constexpr double kSlowestLink = 1.0;
constexpr double kSlowestStage = 1e-6;  // of the profile's speed
constexpr double kFastestStage = 1e6;

double number_of(const JsonView& view) {
  const std::string& path = view.path();
  const std::string_view name = std::string_view(path).substr(path.find_last_of('.') + 1);
  const bool seconds = name.find("seconds") != std::string_view::npos;
  return view.number(0.0, seconds ? kMostSeconds : kMostBytes);
}

double bandwidth_of(const JsonView& view) { return view.number(kSlowestLink, kFastestLink); }

std::map<int, double> read_bandwidths(const JsonView& view) {
  if (!view.json().is_object()) view.fail("an object of bytes per second by degree");
  std::map<int, double> result;
  for (const auto& [key, unused] : view.json().items()) {
    int degree = 0;
    for (const char c : key) {
      degree = (c >= '0' && c <= '9' && degree < 100'000'000) ? degree * 10 + (c - '0') : -1;
      if (degree < 0) break;
    }
    const JsonView entry = view.at(key);
    if (degree < 1 || std::to_string(degree) != key) {
      view.fail("degree \"" + key + "\"", "a whole number >= 1 as the key");
    }
    result[degree] = bandwidth_of(entry);
  }
  return result;
}

ProfileModel read_model(const JsonView& view) {
  if (!view.json().is_object()) view.fail("an object");
  ProfileModel model;
  for (const auto& [name, value] : kProfileModelFields) {
    if (view.json().contains(name)) model.*value = view.at(name).integer(1, std::int64_t{1} << 31);
  }
  if (model.num_key_value_heads > 0 && model.num_attention_heads % model.num_key_value_heads != 0) {
    view.at("num_key_value_heads").fail("a divisor of num_attention_heads");
  }
  return model;
}

struct StateShardingRow {
  StateSharding value;
  const char* name;
};
constexpr StateShardingRow kStateShardings[] = {
    {StateSharding::kSequenceParallel, "sequence_parallel"},
    {StateSharding::kAll, "all"},
    {StateSharding::kOptimizer, "optimizer"},
};

StateSharding read_sharding(const JsonView& view) {
  const std::string name = view.string();
  const auto* row = find_named(kStateShardings, name);
  if (row == nullptr) view.fail("one of " + listed(names_of(kStateShardings)));
  return row->value;
}

}  // namespace

Profile profile_from_json(const Json& json, const std::string& where) {
  const JsonView root(json, where);
  if (!json.is_object()) root.fail("a profile object");
  check_format(root, kFormat);
  Profile profile;
  profile.source = root.at("source").string();
  profile.machine = root.at("machine").string();
  profile.dtype = root.at("dtype").string();
  if (root.has("model")) profile.model = read_model(root.at("model"));
  profile.heads = profile.model.heads();
  profile.sliding_window = profile.model.sliding_window;
  visit_numbers(profile, [&](const std::string& path, double& value) {
    if (path != kLinkSpeed) value = number_of(follow(root, path));
  });
  profile.links.p2p_bytes_per_second = bandwidth_of(follow(root, kLinkSpeed));
  profile.head_in_forward = follow(root, "head.in_forward").boolean();
  profile.memory.state_sharding = read_sharding(follow(root, "memory.state.sharded_over"));
  visit_levels(profile, [&](const KeepLevel& level, std::optional<RemakeCost>& remake) {
    if (!root.has(level.profile_field)) return;
    visit_remake(level, remake.emplace(), [&](const std::string& path, double& value) {
      value = number_of(follow(root, path));
    });
  });
  visit_context(profile, [&](const char* direction, double& value) {
    const JsonView cost = root.at(direction);
    if (cost.has(kContext)) value = number_of(cost.at(kContext));
  });
  const JsonView state = follow(root, "memory.state");
  visit_state_shares(profile.memory, [&](const char* name, double& share) {
    if (!state.has(name)) return;
    share = state.at(name).number(0.0, 1.0);
    if (profile.memory.state_gradient_share + profile.memory.state_optimizer_share > 1.0) {
      state.at(name).fail("a share, and both shares together at most 1");
    }
  });
  if (const JsonView memory = root.at("memory"); memory.has(kAttended))
    profile.memory.attended_bytes_per_token = number_of(memory.at(kAttended));
  const JsonView links = root.at("links");
  visit_bandwidths(profile.links, [&](const char* name, std::map<int, double>& bandwidth) {
    bandwidth = read_bandwidths(links.at(name));
  });
  profile.seconds_per_chunk_divided = root.boolean_or("seconds_per_chunk_divided", false);
  if (root.has("backward_weight")) {
    const JsonView weight = follow(root, "backward_weight.seconds_per_token");
    profile.backward_weight_seconds_per_token = number_of(weight);
    if (profile.backward_weight_seconds_per_token > profile.backward.seconds_per_token) {
      weight.fail("at most backward.seconds_per_token, which it is part of");
    }
  }
  if (root.has("stage_speed")) {
    const JsonView speeds = root.at("stage_speed");
    speeds.for_each([&](const JsonView& speed) {
      profile.stage_speed.push_back(speed.number(kSlowestStage, kFastestStage));
    });
  }
  if (const JsonView memory = root.at("memory"); memory.has("layerwise")) {
    const JsonView layerwise = memory.at("layerwise");
    if (!layerwise.json().is_object()) layerwise.fail("an object");
    visit_layerwise(profile.memory.layerwise.emplace(), [&](const char* name, double& value) {
      value = number_of(layerwise.at(name));
    });
    profile.memory.layerwise->received_ahead =
        static_cast<double>(layerwise.integer_or("received_ahead", 0));
  }
  if (root.has("step")) profile.step_seconds = number_of(follow(root, "step.seconds"));
  profile.raw = canonical_json(json);
  return profile;
}

Profile read_profile(const std::string& path) {
  constexpr std::size_t kLargest = std::size_t{1} << 24;  // they have a few kilobytes
  return profile_from_json(read_json_file(path, kLargest), path);
}

double Profile::exchanged_again(Keep level, double layers) const {
  // Of a layer's numbers, 2 Q + 2 KV, making queries, keys and values again exchanges Q + 2 KV.
  const double all = links.all_to_all_bytes_per_token / layers;
  switch (level) {
    case Keep::kAttention:
      return std::min(all, 0.5 * (all + memory.kv_bytes_per_token));
    case Keep::kInput:
      return all;
    case Keep::kMlpInput:
    case Keep::kAll:
      break;
  }
  return 0.0;
}

ProfileModel profile_model(const ModelSpec& model) {
  return {model.num_hidden_layers,   model.hidden_size, model.num_attention_heads,
          model.num_key_value_heads, model.vocab_size,  model.sliding_window};
}

ProfileModel agreed_model(const ProfileModel& given, const Profile& profile,
                          const std::string& where) {
  ProfileModel agreed = given;
  for (const auto& [name, value] : kProfileModelFields) {
    const std::int64_t own = given.*value;
    const std::int64_t theirs = profile.model.*value;
    if (own > 0 && theirs > 0 && own != theirs) {
      throw InputError(
          std::string("model.") + name, "found " + std::to_string(own),
          "expected " + std::to_string(theirs) + ", which the figures of " + where + " are for",
          std::string("leave model.") + name + " out, or use a profile of this model");
    }
    if (own == 0) agreed.*value = theirs;
  }
  return agreed;
}

Profile at_pace(Profile profile, const std::vector<double>& pace, double mean) {
  if (pace.empty()) return profile;
  profile.stage_speed.resize(pace.size(), 1.0);
  for (std::size_t p = 0; p < pace.size(); ++p) profile.stage_speed[p] /= pace[p] / mean;
  return profile;
}

Json profile_to_json(const Profile& profile) {
  Json json = profile.raw.empty() ? Json::object() : parse_json(profile.raw, "profile");
  json["format"] = kFormat;
  json["version"] = 1;
  json["source"] = profile.source;
  json["machine"] = profile.machine;
  json["dtype"] = profile.dtype;
  for (const auto& [name, value] : kProfileModelFields) {
    if (profile.model.*value > 0) json["model"][name] = profile.model.*value;
  }
  visit_numbers(profile,
                [&](const std::string& path, const double& value) { store(json, path, value); });
  store(json, "head.in_forward", profile.head_in_forward);
  for (const StateShardingRow& row : kStateShardings) {
    if (row.value == profile.memory.state_sharding)
      store(json, "memory.state.sharded_over", row.name);
  }
  visit_levels(profile, [&](const KeepLevel& level, const std::optional<RemakeCost>& remake) {
    if (!remake) {
      json.erase(level.profile_field);
      return;
    }
    visit_remake(level, *remake,
                 [&](const std::string& path, const double& value) { store(json, path, value); });
  });
  visit_context(profile, [&](const char* name, const double& value) {
    json[name].erase(kContext);
    if (value > 0.0) json[name][kContext] = value;
  });
  visit_state_shares(profile.memory, [&](const char* name, const double& share) {
    json["memory"]["state"].erase(name);
    if (share > 0.0) json["memory"]["state"][name] = share;
  });
  visit_bandwidths(profile.links, [&](const char* name, const std::map<int, double>& bandwidth) {
    Json values = Json::object();
    for (const auto& [degree, value] : bandwidth) values[std::to_string(degree)] = value;
    json["links"][name] = std::move(values);
  });
  json.erase("seconds_per_chunk_divided");
  if (profile.seconds_per_chunk_divided) json["seconds_per_chunk_divided"] = true;
  if (profile.backward_weight_seconds_per_token >= 0.0) {
    store(json, "backward_weight.seconds_per_token", profile.backward_weight_seconds_per_token);
  } else {
    json.erase("backward_weight");
  }
  json["memory"].erase(kAttended);
  if (profile.memory.attended_bytes_per_token > 0.0)
    json["memory"][kAttended] = profile.memory.attended_bytes_per_token;
  json["memory"].erase("layerwise");
  if (profile.memory.layerwise) {
    Json layerwise = Json::object();
    visit_layerwise(*profile.memory.layerwise,
                    [&](const char* name, const double& value) { layerwise[name] = value; });
    if (profile.memory.layerwise->received_ahead > 0.0)
      layerwise["received_ahead"] = profile.memory.layerwise->received_ahead;
    json["memory"]["layerwise"] = std::move(layerwise);
  }
  json.erase("step");
  if (profile.step_seconds > 0.0) json["step"] = {{"seconds", profile.step_seconds}};
  json.erase("stage_speed");
  if (!profile.stage_speed.empty()) json["stage_speed"] = profile.stage_speed;
  return json;
}

std::string profile_hash(const Profile& profile) { return hash_json(profile_to_json(profile)); }

std::vector<Keep> Profile::known_levels() const {
  std::vector<Keep> levels;
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (knows(kKeepLevels[i].keep)) levels.push_back(kKeepLevels[i].keep);
  }
  return levels;
}

}  // namespace infinipipe

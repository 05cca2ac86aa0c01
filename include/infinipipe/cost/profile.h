// profile.json: a machine to plan for, measured or given. Fields exactly as in docs/profile.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/base/units.h"
#include "infinipipe/core/dtype.h"
#include "infinipipe/core/keeping.h"
#include "infinipipe/core/model_spec.h"

namespace infinipipe {

// Seconds of the forward or of the backward of all layers, on one device (sequence parallel 1).
struct DirectionCost {
  double seconds_per_token2 = 0.0;  // times ChunkShape::token2
  double seconds_per_token = 0.0;
  double seconds_per_chunk = 0.0;
  double seconds_per_slice = 0.0;
  // A token of context that a slice reads, whatever the slice's own length: short slices behind
  // long contexts take longer than (C+s)^2 - C^2 says.
  double seconds_per_context_token = 0.0;
};

// What one level of core/keeping.h costs: seconds to make the rest of a layer again, bytes to keep.
struct RemakeCost {
  DirectionCost cost;                 // of making the rest again in all layers, on one device
  double kept_bytes_per_token = 0.0;  // that one layer keeps beside its input
};

struct PerTokenPair {
  double forward_seconds_per_token = 0.0;
  double backward_seconds_per_token = 0.0;
};

// What an instruction holds only while it runs, beyond what it leaves. A profile with these figures
// counts memory layer by layer (docs/profile.md, "Layer by layer"). Bytes for each token of the
// chunk, on one device of the sequence-parallel group; none depends on the number of layers.
struct LayerwiseMemory {
  double forward_bytes_per_token = 0.0;   // a layer's forward
  double backward_bytes_per_token = 0.0;  // a layer's backward, the incoming gradient left out
  double backward_bytes = 0.0;            // whatever the tokens: attention's tiles
  double pending_bytes_per_token = 0.0;   // a kept layer between I and W
  double head_bytes_per_token = 0.0;      // the head, at the end of the last stage's forward
  double head_block_tokens = 0.0;         // its logits exist for so many tokens at a time
  double head_block_bytes_per_token = 0.0;
  // Messages for which a stage has memory before they come, as processes must: its next ones. 0
  // where stages hand over what they made.
  double received_ahead = 0.0;
};

// Which devices share out the states, so that each holds a part.
enum class StateSharding {
  kSequenceParallel,  // those of a sequence-parallel group; over replicas the optimizer's alone
  kAll,               // all devices, all states
  kOptimizer,  // all copies of a stage, the optimizer's alone; weights and gradients are whole
};

struct MemoryCost {
  double activation_bytes_per_token = 0.0;  // all layers
  double input_bytes_per_token = 0.0;       // one layer, as the next three
  double kv_bytes_per_token = 0.0;
  double kv_grad_bytes_per_token = 0.0;
  double head_bytes_per_token = 0.0;
  // One layer, beside activation_bytes_per_token: attention's output once more, of the device's own
  // tokens, where a sequence-parallel group shares each chunk.
  double attended_bytes_per_token = 0.0;
  double workspace_bytes = 0.0;
  double state_bytes_per_layer = 0.0;
  double state_embedding_bytes = 0.0;
  double state_head_bytes = 0.0;
  double state_constant_bytes = 0.0;
  StateSharding state_sharding = StateSharding::kSequenceParallel;
  // Which share of the states (constant bytes left out) is gradients, and which is the optimizer's,
  // which copies of a stage share out (state_shards()); the rest is weights. 0 where a profile does
  // not tell them apart.
  double state_gradient_share = 0.0;
  double state_optimizer_share = 0.0;
  std::optional<LayerwiseMemory> layerwise;
};

struct LinkCost {
  double p2p_seconds = 0.0;
  double p2p_bytes_per_second = 0.0;
  double p2p_bytes_per_token = 0.0;
  std::map<int, double> all_to_all;  // bytes/s a device, by degree
  double all_to_all_bytes_per_token = 0.0;
  std::map<int, double> all_gather;
  std::map<int, double> reduce_scatter;
};

// What a profile says of the model that its figures are for, each under Hugging Face's name.
// 0: it does not say.
struct ProfileModel {
  std::int64_t num_hidden_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t vocab_size = 0;
  std::int64_t sliding_window = 0;  // 0 where it has none, too

  // As many key-value heads as query heads where only these are said.
  HeadCounts heads() const {
    return {num_attention_heads,
            num_key_value_heads > 0 ? num_key_value_heads : num_attention_heads};
  }
  bool operator==(const ProfileModel&) const = default;
};
ProfileModel profile_model(const ModelSpec& model);

struct ProfileModelField {
  const char* name;
  std::int64_t ProfileModel::*value;
};
inline constexpr ProfileModelField kProfileModelFields[] = {
    {"num_hidden_layers", &ProfileModel::num_hidden_layers},
    {"hidden_size", &ProfileModel::hidden_size},
    {"num_attention_heads", &ProfileModel::num_attention_heads},
    {"num_key_value_heads", &ProfileModel::num_key_value_heads},
    {"vocab_size", &ProfileModel::vocab_size},
    {"sliding_window", &ProfileModel::sliding_window},
};

struct Profile {
  std::string source;
  std::string machine;
  std::string dtype;   // as the file says; a name that is not in kDtypes counts as float32
  ProfileModel model;  // all 0: the file has none
  // The model's, where `model` says them or the user did. Not written, and not hashed.
  HeadCounts heads;
  Tokens sliding_window = 0;  // 0: none
  DirectionCost forward;
  DirectionCost backward;
  PerTokenPair embedding;
  PerTokenPair head;
  bool head_in_forward = false;
  bool seconds_per_chunk_divided = false;  // b1 is divided by the sequence-parallel degree too
  double backward_weight_seconds_per_token = -1.0;  // < 0: half of backward's per-token term
  std::vector<double> stage_speed;                  // empty: all 1
  // By level of keeping. Where it is empty, knows() tells whether the level may be used, which then
  // costs a forward.
  ByRemadeLevel<std::optional<RemakeCost>> remake;
  double step_seconds = 0.0;  // a step's optimizer and bookkeeping, outside its instructions
  MemoryCost memory;
  LinkCost links;
  double device_memory_bytes = 0.0;
  std::string raw;  // the document's JSON text: fields by later versions

  // What a stage may take: `bytes_per_stage` where it is set, else the device's memory; 0: no
  // limit.
  double limit(double bytes_per_stage) const {
    return bytes_per_stage > 0.0 ? bytes_per_stage : device_memory_bytes;
  }
  // Whether it says what making such layers again costs.
  bool knows(Keep level) const {
    return level_of(level).plan_field == nullptr || remake[index_of(level)].has_value();
  }
  // The levels that it knows for layers that run again, in the table's order.
  std::vector<Keep> known_levels() const;
  // backward_weight_seconds_per_token, or what stands for it.
  double weight_seconds_per_token() const {
    return backward_weight_seconds_per_token >= 0.0 ? backward_weight_seconds_per_token
                                                    : 0.5 * backward.seconds_per_token;
  }
  // Bytes a token that one of `layers` layers exchanges between devices of a sequence-parallel
  // group when it is made again, in all; a device's part is that over the degree.
  double exchanged_again(Keep level, double layers) const;
  // Bytes a token that a layer of this level keeps beside its input.
  double kept_beside_input(Keep level) const {
    const auto& cost = remake[index_of(level)];
    return cost ? cost->kept_bytes_per_token : 0.0;
  }
};

// What is said of a model, by the user (`given`) and by the profile together. Throws
// InputError("model.<field>", ...) with both values and the ways out where they contradict each
// other; `where` is the profile's name for that message.
ProfileModel agreed_model(const ProfileModel& given, const Profile& profile,
                          const std::string& where);

// Throws InputError naming file and field for what is missing, negative or not finite.
Profile profile_from_json(const Json& json, const std::string& where);
Profile read_profile(const std::string& path);
// The profile of the same machine with stage p running pace[p] / mean times as long (1.1: a tenth
// slower). One pace a stage, all above 0.
Profile at_pace(Profile profile, const std::vector<double>& pace, double mean = 1.0);
Json profile_to_json(const Profile& profile);
std::string profile_hash(const Profile& profile);

// A machine of `flops_per_second` a device that runs `model`, when nothing was measured: times from
// FLOPs, memory from the layers' own saved tensors. Same model, same profile, on any machine.
Profile estimated_profile(const ModelSpec& model, Dtype dtype, double flops_per_second = 5e10);

}  // namespace infinipipe

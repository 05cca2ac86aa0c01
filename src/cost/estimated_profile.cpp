// A machine that nobody measured: time from FLOPs, memory from the tensors that our layers keep.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/layer_costs.h"
#include "infinipipe/base/error.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {
namespace {

// Calling a layer's kernels once, and one more slice's attention.
constexpr double kLayerCallSeconds = 4e-5;
constexpr double kSliceCallSeconds = 1e-5;
// Handing a tensor over within one machine.
constexpr double kLinkSeconds = 3e-5;
constexpr double kLinkBytesPerSecond = 5e9;
// The head's block of logits, at most.
constexpr double kHeadBlockTokens = 1024.0;
constexpr double kHeadBlockBytes = 64.0 * 1024 * 1024;

}  // namespace

Profile estimated_profile(const ModelSpec& model, Dtype dtype, double flops_per_second) {
  model.check();
  INFINIPIPE_ASSERT(flops_per_second > 0.0, "a machine needs some speed");
  const DtypeBytes& bytes = row_of(dtype).bytes;
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto keys = static_cast<double>(model.kv_width());
  const auto vocabulary = static_cast<double>(model.vocab_size);

  Profile profile;
  profile.source = "estimated";
  profile.machine =
      "from the model's FLOPs at " + canonical_json(Json(flops_per_second)) + " a second";
  profile.dtype = to_string(dtype);
  profile.model = profile_model(model);
  profile.heads = profile.model.heads();
  profile.sliding_window = model.sliding_window;
  const double token_seconds = layers * layer_flops_per_token(model) / flops_per_second;
  const double token2_seconds = layers * layer_flops_per_token2(model) / flops_per_second;
  profile.forward = {token2_seconds, token_seconds, layers * kLayerCallSeconds,
                     layers * kSliceCallSeconds};
  profile.backward = {kAttentionBackward * token2_seconds, kMatmulBackward * token_seconds,
                      2.0 * layers * kLayerCallSeconds, 2.0 * layers * kSliceCallSeconds};
  const double head_seconds = head_flops_per_token(model) / flops_per_second;
  profile.head = {head_seconds, kMatmulBackward * head_seconds};
  profile.head_in_forward = true;

  const auto bytes_of = [&](const TokenNumbers& numbers) {
    return numbers.bytes(bytes.element, bytes.accumulator);
  };
  MemoryCost& memory = profile.memory;
  memory.activation_bytes_per_token = layers * bytes_of(layer_kept(model));
  memory.input_bytes_per_token = bytes_of(layer_input(model));
  memory.kv_bytes_per_token = bytes_of(layer_kv(model));
  memory.kv_grad_bytes_per_token = bytes_of(layer_kv_grad(model));
  memory.head_bytes_per_token = hidden * bytes.element;
  // Logits and their gradient, block by block.
  memory.workspace_bytes =
      std::min(kHeadBlockBytes, 2.0 * kHeadBlockTokens * vocabulary * bytes.accumulator);
  memory.state_bytes_per_layer = static_cast<double>(model.parameters_per_layer()) * bytes.state;
  memory.state_embedding_bytes = vocabulary * hidden * bytes.state;
  memory.state_head_bytes = (vocabulary + 1.0) * hidden * bytes.state;
  memory.state_gradient_share = bytes.gradient / bytes.state;
  memory.state_optimizer_share = bytes.moments / bytes.state;

  profile.links.p2p_seconds = kLinkSeconds;
  profile.links.p2p_bytes_per_second = kLinkBytesPerSecond;
  profile.links.p2p_bytes_per_token = hidden * bytes.element;
  // q, k, v in and o out, once a direction, as docs/profile.md counts them.
  profile.links.all_to_all_bytes_per_token = layers * 2.0 * (hidden + keys) * bytes.element;
  return profile;
}

}  // namespace infinipipe

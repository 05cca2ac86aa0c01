// A machine that nobody measured: time from FLOPs and bytes, memory from the tensors that our
// layers keep.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/gpus.h"
#include "core/layer_costs.h"
#include "cost/named_estimate.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// A processor. Calling a layer's kernels once, and one more slice's attention.
constexpr double kLayerCallSeconds = 4e-5;
constexpr double kSliceCallSeconds = 1e-5;
// Handing a tensor over within one machine.
constexpr double kLinkSeconds = 3e-5;
constexpr double kLinkBytesPerSecond = 5e9;
constexpr int kMostShards = 64;  // of a stage, on one machine
// The head's block of logits, at most.
constexpr double kHeadBlockTokens = 1024.0;
constexpr double kHeadBlockBytes = 64.0 * 1024 * 1024;

// A GPU. What a kernel takes beside its work, as starting and ending overlap with none of it, and
// how many kernels a layer starts (docs/gpu.md).
constexpr double kKernelSeconds = 3e-6;
constexpr double kForwardKernels = 12.0;
constexpr double kBackwardKernels = 23.0;
// Heads of 64 and fewer: 299 of 335 TFLOP/s forward, 291 of 322 backward on an H100.
constexpr double kNarrowHeads = 0.9;
// The float32 kernel of attention, against a float32 matrix product.
constexpr double kFloat32Attention = 0.5;
constexpr double kGpuHeadBlockTokens = 4096.0;
constexpr double kGpuNode = 8.0;  // cards that share the fast links
constexpr int kMostLinked = 1024;

// Bytes a token that a layer's kernels between products and attention move, in numbers of the
// compute dtype (the table of docs/gpu.md, halved).
double forward_numbers(const ModelSpec& model) {
  const auto width = static_cast<double>(model.query_width() + 2 * model.kv_width());
  return 4.0 * static_cast<double>(model.hidden_size) + 2.0 * width +
         3.0 * static_cast<double>(model.intermediate_size);
}
double backward_numbers(const ModelSpec& model) {
  const auto width = static_cast<double>(model.query_width() + 2 * model.kv_width());
  return 12.0 * static_cast<double>(model.hidden_size) + 2.0 * width +
         6.0 * static_cast<double>(model.intermediate_size);
}

// What every estimate says, whatever the machine: the model, its bytes, and no times.
Profile without_times(const ModelSpec& model, Dtype dtype) {
  model.check();
  const DtypeBytes& bytes = row_of(dtype).bytes;
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const auto hidden = static_cast<double>(model.hidden_size);
  const auto keys = static_cast<double>(model.kv_width());
  const auto vocabulary = static_cast<double>(model.vocab_size);

  Profile profile;
  profile.source = "estimated";
  profile.dtype = to_string(dtype);
  profile.model = profile_model(model);
  profile.heads = profile.model.heads();
  profile.sliding_window = model.sliding_window;
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
  memory.attended_bytes_per_token = static_cast<double>(model.query_width()) * bytes.element;
  memory.state_sharding = StateSharding::kOptimizer;
  memory.state_bytes_per_layer = static_cast<double>(model.parameters_per_layer()) * bytes.state;
  memory.state_embedding_bytes = vocabulary * hidden * bytes.state;
  memory.state_head_bytes = (vocabulary + 1.0) * hidden * bytes.state;
  memory.state_gradient_share = bytes.gradient / bytes.state;
  memory.state_optimizer_share = bytes.moments / bytes.state;

  profile.links.p2p_seconds = kLinkSeconds;
  profile.links.p2p_bytes_per_token = hidden * bytes.element;
  // q, k, v in and o out, once a direction, as docs/profile.md counts them.
  const auto queries = static_cast<double>(model.query_width());
  profile.links.all_to_all_bytes_per_token = layers * 2.0 * (queries + keys) * bytes.element;
  return profile;
}

// A node's cards over its own links, more than a node at the network's rate: an exchange sends what
// stays in the node for nothing, a gather all of it.
void set_collectives(const GpuRow& gpu, LinkCost& links) {
  for (int degree = 2; degree <= kMostLinked; degree *= 2) {
    const double devices = degree;
    const bool inside = devices <= kGpuNode;
    const double rate = inside ? gpu.link : gpu.network;
    const double leaving = inside ? (devices - 1.0) / devices : (devices - kGpuNode) / devices;
    links.all_to_all[degree] = rate / leaving;
    links.all_gather[degree] = links.reduce_scatter[degree] = rate;
  }
}

// Layers that run again, by what they kept: all but the down projection, whose result nothing
// needs, with or without attention; or gate and up, which have twice its weights.
void set_remade(const ModelSpec& model, const DtypeBytes& bytes, Profile& profile) {
  const double down = down_projection_share(model);
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    const KeepLevel& level = kKeepLevels[i];
    const double share = level.keep == Keep::kMlpInput ? 2.0 * down : 1.0 - down;
    RemakeCost remake;
    remake.cost.seconds_per_token = share * profile.forward.seconds_per_token;
    remake.cost.seconds_per_chunk = share * profile.forward.seconds_per_chunk;
    if (level.attends_again) {
      remake.cost.seconds_per_token2 = profile.forward.seconds_per_token2;
      remake.cost.seconds_per_slice = profile.forward.seconds_per_slice;
    }
    remake.kept_bytes_per_token =
        layer_beside_input(model, level.keep).bytes(bytes.element, bytes.accumulator);
    profile.remake[i] = remake;
  }
}

Profile gpu_profile(const ModelSpec& model, Dtype dtype, const GpuRow& gpu) {
  if (dtype == Dtype::kFloat64) {
    throw InputError(
        "config: training.dtype", std::string("found ") + to_string(dtype),
        "expected another for cluster.profile = " + std::string(kEstimate) + ":" + gpu.name,
        "GPUs compute in the others here");
  }
  Profile profile = without_times(model, dtype);
  const DtypeBytes& bytes = row_of(dtype).bytes;
  const bool tensor_cores = dtype == Dtype::kBfloat16;
  const double matmul = tensor_cores ? gpu.matmul : gpu.float32;
  const double narrow = model.resolved_head_dim() <= 64 ? kNarrowHeads : 1.0;
  const auto attention = [&](double rate) {
    return tensor_cores ? narrow * rate : kFloat32Attention * gpu.float32;
  };
  const auto layers = static_cast<double>(model.num_hidden_layers);
  const double token = layers * layer_flops_per_token(model) / matmul;
  const double token2 = layers * layer_flops_per_token2(model);
  const auto moved = [&](double numbers) { return layers * numbers * bytes.element / gpu.memory; };

  profile.machine = std::string("estimate of an ") + gpu.line +
                    ", from published rates: nothing was measured, times may be off by " +
                    std::to_string(static_cast<int>(100.0 * gpu.error + 0.5)) + "%";
  profile.forward = {token2 / attention(gpu.attention_forward),
                     token + moved(forward_numbers(model)),
                     layers * kForwardKernels * kKernelSeconds, layers * kKernelSeconds};
  profile.backward = {kAttentionBackward * token2 / attention(gpu.attention_backward),
                      kMatmulBackward * token + moved(backward_numbers(model)),
                      layers * kBackwardKernels * kKernelSeconds, 2.0 * layers * kKernelSeconds};
  profile.backward_weight_seconds_per_token = token;
  // Logits: written by their product, read and overwritten by the loss, read by two products.
  const auto logits = static_cast<double>(model.vocab_size) * bytes.element;
  const double head = head_flops_per_token(model) / matmul;
  profile.head = {head + 3.0 * logits / gpu.memory,
                  kMatmulBackward * head + 2.0 * logits / gpu.memory};
  set_remade(model, bytes, profile);

  profile.memory.workspace_bytes = kGpuHeadBlockTokens * logits;
  profile.device_memory_bytes = usable_gpu_memory(gpu.memory_bytes);
  profile.links.p2p_bytes_per_second = gpu.link;
  set_collectives(gpu, profile.links);
  return profile;
}

}  // namespace

Profile estimated_profile(const ModelSpec& model, Dtype dtype, double flops_per_second) {
  INFINIPIPE_ASSERT(flops_per_second > 0.0, "a machine needs some speed");
  Profile profile = without_times(model, dtype);
  const auto layers = static_cast<double>(model.num_hidden_layers);
  profile.machine =
      "from the model's FLOPs at " + canonical_json(Json(flops_per_second)) + " a second";
  const double token_seconds = layers * layer_flops_per_token(model) / flops_per_second;
  const double token2_seconds = layers * layer_flops_per_token2(model) / flops_per_second;
  profile.forward = {token2_seconds, token_seconds, layers * kLayerCallSeconds,
                     layers * kSliceCallSeconds};
  profile.backward = {kAttentionBackward * token2_seconds, kMatmulBackward * token_seconds,
                      2.0 * layers * kLayerCallSeconds, 2.0 * layers * kSliceCallSeconds};
  const double head_seconds = head_flops_per_token(model) / flops_per_second;
  profile.head = {head_seconds, kMatmulBackward * head_seconds};
  // Logits and their gradient, block by block.
  profile.memory.workspace_bytes =
      std::min(kHeadBlockBytes, 2.0 * kHeadBlockTokens * static_cast<double>(model.vocab_size) *
                                    row_of(dtype).bytes.accumulator);
  profile.links.p2p_bytes_per_second = kLinkBytesPerSecond;
  for (int degree = 2; degree <= kMostShards; ++degree)  // its own part stays where it is
    profile.links.all_to_all[degree] = kLinkBytesPerSecond * degree / (degree - 1.0);
  return profile;
}

Profile named_estimate(const ModelSpec& model, Dtype dtype, const std::string& name) {
  const GpuRow* const gpu = estimated_gpu(name);
  return gpu == nullptr ? estimated_profile(model, dtype) : gpu_profile(model, dtype, *gpu);
}

}  // namespace infinipipe

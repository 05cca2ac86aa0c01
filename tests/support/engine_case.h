// Engines, batches and the autograd oracle side by side.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "runtime/engine.h"
#include "support/reference_model.h"

namespace infinipipe::testing {

inline ModelSpec small_model(int layers, std::int64_t hidden = 16) {
  ModelSpec model;
  model.vocab_size = 31;
  model.hidden_size = hidden;
  model.intermediate_size = 24;
  model.num_hidden_layers = layers;
  model.num_attention_heads = 2;
  model.num_key_value_heads = 1;
  model.initializer_range = 0.2;  // far from linear, so that every path carries weight
  return model;
}

inline Engine::Options engine_options(const ModelSpec& model, const Plan& plan, Dtype dtype) {
  Engine::Options options;
  options.model = model;
  options.stages = plan.stages;
  options.replicas = plan.parallelism.data_parallel;
  options.shards = plan.parallelism.sequence_parallel;
  options.dtype = dtype;
  return options;
}

// What a GPU runs, on the processor's tensors, with contexts that take several calls.
inline ComputePath device_path() { return {.device = true, .attention_keys = 48}; }

inline Batch random_batch(Random& random, const std::vector<Tokens>& lengths, std::int64_t vocab) {
  Batch batch;
  for (const Tokens length : lengths) {
    auto& tokens = batch.sequences.emplace_back();
    for (Tokens i = 0; i < length; ++i) tokens.push_back(random.between(0, vocab - 1));
  }
  return batch;
}

// The engine's weights in an autograd model.
inline ReferenceModel reference_of(Engine& engine) {
  ReferenceModel reference(engine.options().model, at::kDouble, engine.options().longest);
  for (const Engine::StateTensor& each : engine.state())
    if (!each.parameter->tied_copy)
      reference.set(each.parameter->name, each.parameter->weight.to(at::kCPU));
  return reference;
}

// Gradients by name, tied copies added to what they copy, and all replicas' and shards'.
inline std::map<std::string, at::Tensor> gradients(Engine& engine) {
  std::map<std::string, at::Tensor> all;
  for (int copy = 0; copy < engine.options().layout().copies(); ++copy) {
    for (const Engine::StateTensor& each : engine.state(copy)) {
      const std::string name =
          each.parameter->tied_copy ? "model.embed_tokens.weight" : each.parameter->name;
      const at::Tensor grad = each.parameter->grad.to(at::kCPU).to(at::kDouble);
      const auto found = all.find(name);
      if (found == all.end()) {
        all.emplace(name, grad);
      } else {
        found->second = found->second + grad;
      }
    }
  }
  return all;
}

struct GradientError {
  double largest = 0.0;
  std::string name;
};

// |a - b| / |b| of the worst parameter. A gradient that ought to vanish (keys of a sequence's first
// token, say) is held against a millionth of the whole gradient's norm instead of its own. A bias
// on keys moves all scores of a query alike, but for RoPE: its gradient is the small rest of large
// terms, and held against that of the bias on queries.
inline GradientError gradient_error(const std::map<std::string, at::Tensor>& found,
                                    const ReferenceModel& reference) {
  double squares = 0.0;
  for (const auto& [name, weight] : reference.weights())
    squares += reference.grad(name).pow(2).sum().item<double>();
  const double floor = 1e-6 * std::sqrt(squares);
  GradientError worst;
  for (const auto& [name, weight] : reference.weights()) {
    const at::Tensor expected = reference.grad(name);
    double size = std::max(expected.norm().item<double>(), floor);
    if (const std::size_t key = name.find("k_proj.bias"); key != std::string::npos) {
      const at::Tensor queries = reference.grad(std::string(name).replace(key, 1, "q"));
      size = std::max(size, queries.norm().item<double>());
    }
    const auto at = found.find(name);
    const double error = at == found.end() ? std::numeric_limits<double>::infinity()
                                           : (at->second - expected).norm().item<double>() / size;
    if (!(error <= worst.largest)) worst = {error, name};  // a NaN counts as the worst
  }
  return worst;
}

}  // namespace infinipipe::testing

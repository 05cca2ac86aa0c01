// Helpers of the model's tests: small models, random batches, and a plain executor that runs chunks
// through stages one after the other.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/common/chunk_state.h"
#include "model/common/kv_store.h"
#include "model/common/stage_model.h"
#include "support/reference_model.h"

namespace infinipipe::testing {

using TokenLists = std::vector<std::vector<std::int64_t>>;

inline ModelSpec small_model() {
  ModelSpec model;
  model.vocab_size = 61;
  model.hidden_size = 32;
  model.intermediate_size = 44;
  model.num_hidden_layers = 3;
  model.num_attention_heads = 4;
  model.num_key_value_heads = 2;
  model.initializer_range = 0.2;  // large, so that no part of the model is negligible
  return model;
}

inline std::vector<std::int64_t> random_tokens(std::int64_t count, std::int64_t vocabulary,
                                               std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(random.between(0, vocabulary - 1));
  return tokens;
}

inline at::Tensor random_tensor(at::IntArrayRef sizes, std::uint64_t seed,
                                at::ScalarType dtype = at::kDouble) {
  Random random(seed);
  at::Tensor tensor = at::empty(sizes, at::dtype(at::kDouble));
  for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.data_ptr<double>()[i] = random.normal();
  return tensor.to(dtype);
}

// Norms and biases begin at ones and zeros, which would hide faults of theirs.
inline void set_random_vectors(StageModel& stage) {
  std::uint64_t seed = 100;
  for (Parameter& each : stage.parameters()) {
    if (each.master.dim() == 1) each.master.copy_(random_tensor(each.master.sizes(), ++seed));
  }
  stage.weights_changed();
}

// Tokens [begin, end) of sequence `index`; cut and last follow from the sequence's length.
inline SliceWork slice_of(int index, Tokens begin, Tokens end, Tokens length) {
  return {SequenceId(index), begin, end, begin > 0 || end < length, end == length};
}

// Stages that share one batch; the store of each.
class Pipeline {
 public:
  Pipeline(const ModelSpec& model, const std::vector<int>& layers,
           at::ScalarType dtype = at::kDouble, std::int64_t seed = 1, Tokens head_block = 64) {
    int begin = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      StageModel::Options options;
      options.model = model;
      options.layers = {begin, begin + layers[i]};
      options.embedding = i == 0;
      options.head = i + 1 == layers.size();
      options.dtype = dtype;
      options.seed = seed;
      options.head_block_tokens = head_block;
      begin += layers[i];
      stages_.push_back(std::make_unique<StageModel>(options));
      stores_.push_back(std::make_unique<KvStore>());
    }
  }

  StageModel& stage(std::size_t i) { return *stages_[i]; }
  KvStore& store(std::size_t i) { return *stores_[i]; }
  std::size_t size() const { return stages_.size(); }

  // Runs all forwards, then the backwards in reverse order; halves: backward_input of all chunks
  // first, then backward_weight. Returns the loss / normalizer.
  double run(const TokenLists& sequences, const std::vector<ChunkWork>& chunks, bool halves = false,
             const std::vector<std::vector<float>>& weights = {}) {
    double normalizer = 0.0;
    for (std::size_t i = 0; i < sequences.size(); ++i)
      for (std::size_t j = 1; j < sequences[i].size(); ++j)
        normalizer += weights.empty() ? 1.0 : static_cast<double>(weights[i][j]);
    std::vector<std::vector<std::unique_ptr<ChunkState>>> states(chunks.size());
    chunk_losses.clear();
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      at::Tensor hidden = ids(sequences, chunks[c]);
      const ChunkTargets targets = targets_of(sequences, chunks[c], weights, normalizer);
      for (std::size_t s = 0; s < size(); ++s) {
        StageModel::Output out = stages_[s]->forward(
            chunks[c], hidden, s + 1 == size() ? &targets : nullptr, *stores_[s], /*keep=*/true);
        states[c].push_back(std::move(out.state));
        if (s + 1 == size()) chunk_losses.push_back(out.loss.item<double>());
        hidden = out.output;
      }
    }
    for (std::size_t c = chunks.size(); c-- > 0;) {
      at::Tensor grad;
      for (std::size_t s = size(); s-- > 0;) {
        if (halves) {
          grad = stages_[s]->backward_input(*states[c][s], grad, *stores_[s]);
        } else {
          grad = stages_[s]->backward(std::move(states[c][s]), grad, *stores_[s]);
        }
      }
    }
    if (halves) {
      for (auto& chunk : states)
        for (std::size_t s = 0; s < size(); ++s) stages_[s]->backward_weight(*chunk[s]);
    }
    double loss = 0.0;
    for (const double each : chunk_losses) loss += each;
    return loss / normalizer;
  }

  std::map<std::string, Parameter> parameters() {
    std::map<std::string, Parameter> all;
    for (auto& stage : stages_)
      for (const Parameter& each : stage->parameters()) all.emplace(each.name, each);
    return all;
  }

  // Puts this model's weights into the oracle.
  ReferenceModel reference(at::ScalarType dtype = at::kDouble) {
    ReferenceModel oracle(stages_[0]->options().model, dtype);
    for (const auto& [name, parameter] : parameters())
      if (!parameter.tied_copy) oracle.set(name, parameter.master);
    return oracle;
  }

  static at::Tensor ids(const TokenLists& sequences, const ChunkWork& chunk) {
    std::vector<std::int64_t> all;
    for (const SliceWork& slice : chunk.slices)
      all.insert(all.end(), sequences[slice.sequence.index()].begin() + slice.begin,
                 sequences[slice.sequence.index()].begin() + slice.end);
    return at::tensor(all, at::dtype(at::kLong));
  }

  static ChunkTargets targets_of(const TokenLists& sequences, const ChunkWork& chunk,
                                 const std::vector<std::vector<float>>& weights,
                                 double normalizer) {
    std::vector<std::int64_t> target;
    std::vector<double> weight;
    for (const SliceWork& slice : chunk.slices) {
      const auto& sequence = sequences[slice.sequence.index()];
      for (auto j = static_cast<std::size_t>(slice.begin + 1);
           j <= static_cast<std::size_t>(slice.end); ++j) {
        const bool has = j < sequence.size();
        target.push_back(has ? sequence[j] : -1);
        weight.push_back(!has ? 0.0
                         : weights.empty()
                             ? 1.0
                             : static_cast<double>(weights[slice.sequence.index()][j]));
      }
    }
    return {at::tensor(target, at::dtype(at::kLong)), at::tensor(weight, at::dtype(at::kDouble)),
            normalizer};
  }

  std::vector<double> chunk_losses;  // of the last run

 private:
  std::vector<std::unique_ptr<StageModel>> stages_;
  std::vector<std::unique_ptr<KvStore>> stores_;
};

}  // namespace infinipipe::testing

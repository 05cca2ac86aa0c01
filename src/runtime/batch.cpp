#include "runtime/batch.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <string>

#include "infinipipe/base/error.h"

namespace infinipipe {

double Batch::target_weight() const {
  double sum = 0.0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].empty()) continue;
    if (i >= weights.size() || weights[i].empty()) {
      sum += static_cast<double>(sequences[i].size() - 1);
      continue;
    }
    for (std::size_t j = 1; j < weights[i].size(); ++j) sum += static_cast<double>(weights[i][j]);
  }
  return sum;
}

void require_fits(const Batch& batch, const Plan& plan, std::int64_t vocab) {
  if (batch.sequences.size() != plan.sequences.size()) {
    throw InputError("batch", "found " + std::to_string(batch.sequences.size()) + " sequences",
                     "the plan has " + std::to_string(plan.sequences.size()));
  }
  if (!batch.weights.empty() && batch.weights.size() != batch.sequences.size()) {
    throw InputError("batch: weights", "found " + std::to_string(batch.weights.size()) + " lists",
                     "expected one a sequence, or none");
  }
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const auto& tokens = batch.sequences[i];
    const std::string where = "batch: sequence " + std::to_string(i);
    if (static_cast<Tokens>(tokens.size()) != plan.sequences[i]) {
      throw InputError(where, "found " + std::to_string(tokens.size()) + " tokens",
                       "the plan has " + std::to_string(plan.sequences[i]));
    }
    if (!batch.weights.empty() && !batch.weights[i].empty() &&
        batch.weights[i].size() != tokens.size()) {
      throw InputError(where, "found " + std::to_string(batch.weights[i].size()) + " weights",
                       "expected " + std::to_string(tokens.size()) + ", or none");
    }
    for (std::size_t j = 0; j < tokens.size(); ++j) {
      if (tokens[j] >= 0 && tokens[j] < vocab) continue;
      throw InputError(
          where,
          "found token id " + std::to_string(tokens[j]) + " at position " + std::to_string(j),
          "expected ids from 0 to " + std::to_string(vocab - 1),
          "use the tokenizer that the model was made for");
    }
  }
}

StepInput::StepInput(const Plan& step_plan, const Batch& step_batch)
    : plan(step_plan),
      batch(step_batch),
      cut(step_plan.cut_sequences()),
      evaluation(step_plan.forward_only()),
      normalizer(step_batch.target_weight()) {}

int sharing_degree(const Chunk& chunk, int shards) {
  return chunk.degree > 0 ? chunk.degree : shards;
}

ChunkWork chunk_work(const StepInput& input, const Chunk& chunk, StageId stage, int shard,
                     int shards) {
  std::span<const Slice> own = chunk.slices;
  if (chunk.degree > 0 && shards > 1) {
    const auto sub_group = static_cast<std::size_t>(shard / chunk.degree);
    const auto before = chunk.groups.begin() + static_cast<std::ptrdiff_t>(sub_group);
    own = own.subspan(static_cast<std::size_t>(std::accumulate(chunk.groups.begin(), before, 0)),
                      static_cast<std::size_t>(*before));
  }
  ChunkWork work;
  for (const Slice& slice : own) {
    const std::size_t i = slice.sequence.index();
    work.slices.push_back({slice.sequence, slice.begin, slice.end, input.cut[i],
                           slice.end == input.plan.sequences[i]});
  }
  if (!input.evaluation) work.keeping = chunk.kept_on(stage);
  return work;
}

void for_own_tokens(
    const ChunkWork& work,
    const std::function<void(const SliceWork&, Tokens begin, Tokens end, Tokens at)>& visit) {
  const TokenRange own = work.own_tokens();
  Tokens place = 0;  // of the slice in the chunk
  for (const SliceWork& slice : work.slices) {
    const Tokens first = std::max(own.begin, place);
    const Tokens last = std::min(own.end, place + slice.tokens());
    if (first < last) {
      const Tokens begin = slice.begin + (first - place);
      visit(slice, begin, begin + (last - first), first - own.begin);
    }
    place += slice.tokens();
  }
}

at::Tensor chunk_tokens(const StepInput& input, const ChunkWork& work) {
  at::Tensor ids = at::empty({work.own_tokens().count()}, at::dtype(at::kLong));
  auto* out = ids.mutable_data_ptr<std::int64_t>();
  for_own_tokens(work, [&](const SliceWork& slice, Tokens begin, Tokens end, Tokens at) {
    const auto& tokens = input.batch.sequences[slice.sequence.index()];
    std::copy(tokens.begin() + begin, tokens.begin() + end, out + at);
  });
  return ids;
}

namespace {

template <class Scalar>
void fill_targets(const StepInput& input, const ChunkWork& work, std::int64_t* targets,
                  Scalar* weights) {
  for_own_tokens(work, [&](const SliceWork& slice, Tokens begin, Tokens end, Tokens at) {
    const std::size_t i = slice.sequence.index();
    const auto& tokens = input.batch.sequences[i];
    const bool weighted = i < input.batch.weights.size() && !input.batch.weights[i].empty();
    std::int64_t* target = targets + at;
    Scalar* weight = weights + at;
    for (Tokens j = begin; j < end; ++j) {
      const auto next = static_cast<std::size_t>(j) + 1;
      const bool has_target = next < tokens.size();
      *target++ = has_target ? tokens[next] : 0;
      *weight++ = !has_target ? Scalar(0)
                  : weighted  ? static_cast<Scalar>(input.batch.weights[i][next])
                              : Scalar(1);
    }
  });
}

}  // namespace

ChunkTargets chunk_targets(const StepInput& input, const ChunkWork& work, at::ScalarType dtype) {
  const Tokens count = work.own_tokens().count();
  ChunkTargets targets;
  targets.normalizer = input.normalizer;
  targets.target = at::empty({count}, at::dtype(at::kLong));
  targets.weight = at::empty({count}, at::dtype(dtype));
  auto* target = targets.target.mutable_data_ptr<std::int64_t>();
  if (dtype == at::kDouble) {
    fill_targets(input, work, target, targets.weight.mutable_data_ptr<double>());
  } else {
    fill_targets(input, work, target, targets.weight.mutable_data_ptr<float>());
  }
  return targets;
}

}  // namespace infinipipe

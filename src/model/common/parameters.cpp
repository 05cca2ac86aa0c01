#include "model/common/parameters.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <string>
#include <string_view>

#include "infinipipe/base/random.h"

namespace infinipipe {

namespace {

constexpr std::uint64_t name_hash(std::string_view name) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

// Each row is its own random stream, so that rows can be filled in parallel.
void fill_normal(const at::Tensor& rows, std::int64_t seed, std::string_view name,
                 double deviation) {
  const std::uint64_t stream = mix(static_cast<std::uint64_t>(seed) ^ mix(name_hash(name)));
  const std::int64_t columns = rows.size(1);
  const auto fill = [&](auto* data) {
    using Scalar = std::remove_pointer_t<decltype(data)>;
    at::parallel_for(0, rows.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        Random random(stream, static_cast<std::uint64_t>(i));
        for (std::int64_t j = 0; j < columns; ++j)
          data[i * columns + j] = static_cast<Scalar>(deviation * random.normal());
      }
    });
  };
  if (rows.scalar_type() == at::kDouble) {
    fill(rows.data_ptr<double>());
  } else {
    fill(rows.data_ptr<float>());
  }
}

class Maker {
 public:
  Maker(const StageModel::Options& options, StageParameters& result)
      : options_(options), result_(result) {}

  // A matrix made of row blocks with a name each.
  struct Part {
    std::string name;
    std::int64_t rows;
  };
  Weight matrix(const std::vector<Part>& parts, std::int64_t columns, double deviation,
                bool tied_copy = false, std::string_view init_name = {}) {
    std::int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    const auto accumulate = accumulate_dtype(options_.dtype);
    const at::Tensor host = at::empty({rows, columns}, at::dtype(accumulate));
    std::int64_t begin = 0;
    for (const Part& part : parts) {
      fill_normal(host.narrow(0, begin, part.rows), options_.seed,
                  init_name.empty() ? std::string_view(part.name) : init_name, deviation);
      begin += part.rows;
    }
    Weight weight = wrap(host);
    if (options_.dtype != accumulate) weight.value = weight.master.to(options_.dtype);
    begin = 0;
    for (const Part& part : parts) {
      const auto view = [&](const at::Tensor& all) { return all.narrow(0, begin, part.rows); };
      result_.list.push_back({part.name, view(weight.value), view(weight.master), view(weight.grad),
                              /*decay=*/true, tied_copy});
      begin += part.rows;
    }
    return weight;
  }

  Weight norm(const std::string& name) {
    Weight weight =
        wrap(at::ones({options_.model.hidden_size}, at::dtype(accumulate_dtype(options_.dtype))));
    result_.list.push_back(
        {name, weight.value, weight.master, weight.grad, /*decay=*/false, false});
    return weight;
  }

 private:
  Weight wrap(const at::Tensor& host) const {
    Weight weight;
    weight.master = host.to(options_.device);
    weight.value = weight.master;
    weight.grad = at::zeros_like(weight.master);
    return weight;
  }

  const StageModel::Options& options_;
  StageParameters& result_;
};

}  // namespace

at::ScalarType accumulate_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

std::vector<Weight*> StageParameters::stored() {
  std::vector<Weight*> all;
  if (embedding.master.defined()) all.push_back(&embedding);
  for (LayerParameters& layer : layers) {
    for (Weight* weight : {&layer.input_norm, &layer.qkv, &layer.output, &layer.middle_norm,
                           &layer.gate_up, &layer.down})
      all.push_back(weight);
  }
  if (final_norm.master.defined()) all.push_back(&final_norm);
  if (head.master.defined() && !head.master.is_same(embedding.master)) all.push_back(&head);
  return all;
}

StageParameters make_parameters(const StageModel::Options& options) {
  const ModelSpec& model = options.model;
  const std::int64_t hidden = model.hidden_size;
  const double deviation = model.initializer_range;
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(model.num_hidden_layers));
  StageParameters result;
  Maker make(options, result);
  const std::string embedding_name = "model.embed_tokens.weight";
  if (options.embedding)
    result.embedding = make.matrix({{embedding_name, model.vocab_size}}, hidden, deviation);
  for (int i = options.layers.begin; i < options.layers.end; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const auto name = [&](const char* rest) { return prefix + rest + ".weight"; };
    LayerParameters layer;
    layer.input_norm = make.norm(name("input_layernorm"));
    layer.qkv = make.matrix({{name("self_attn.q_proj"), model.query_width()},
                             {name("self_attn.k_proj"), model.kv_width()},
                             {name("self_attn.v_proj"), model.kv_width()}},
                            hidden, deviation);
    layer.output = make.matrix({{name("self_attn.o_proj"), hidden}}, model.query_width(), residual);
    layer.middle_norm = make.norm(name("post_attention_layernorm"));
    layer.gate_up = make.matrix({{name("mlp.gate_proj"), model.intermediate_size},
                                 {name("mlp.up_proj"), model.intermediate_size}},
                                hidden, deviation);
    layer.down = make.matrix({{name("mlp.down_proj"), hidden}}, model.intermediate_size, residual);
    result.layers.push_back(std::move(layer));
  }
  if (options.head) {
    result.final_norm = make.norm("model.norm.weight");
    if (model.tie_word_embeddings && options.embedding) {
      result.head = result.embedding;
    } else {
      const bool tied = model.tie_word_embeddings;
      result.head = make.matrix({{"lm_head.weight", model.vocab_size}}, hidden, deviation, tied,
                                tied ? embedding_name : "");
    }
  }
  return result;
}

}  // namespace infinipipe

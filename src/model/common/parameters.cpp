#include "model/common/parameters.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/random.h"
#include "core/model_tensors.h"

namespace infinipipe {

namespace {

constexpr std::uint64_t name_hash(std::string_view name) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

// fill(begin, end) on parts of [0, count), on so many threads. They are not those that compute:
// where a GPU does, a stage computes with one.
template <class Fill>
void on_threads(int threads, std::int64_t count, const Fill& fill) {
  constexpr std::int64_t kLeastRows = 64;  // that are worth a thread
  const std::int64_t parts = std::clamp<std::int64_t>(count / kLeastRows, 1, std::max(1, threads));
  std::vector<std::jthread> workers;
  for (std::int64_t part = 1; part < parts; ++part)
    workers.emplace_back([&, part] { fill(count * part / parts, count * (part + 1) / parts); });
  fill(0, count / parts);
}

// Each row is its own random stream, so that rows can be filled in parallel.
void fill_normal(const at::Tensor& rows, std::int64_t seed, std::string_view name, double deviation,
                 int threads) {
  const std::uint64_t stream = mix(static_cast<std::uint64_t>(seed) ^ mix(name_hash(name)));
  const std::int64_t columns = rows.size(1);
  const auto fill = [&](auto* data) {
    using Scalar = std::remove_pointer_t<decltype(data)>;
    on_threads(threads, rows.size(0), [&](std::int64_t begin, std::int64_t end) {
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

}  // namespace

at::ScalarType accumulate_dtype(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

Weight ParameterMaker::wrap(const at::Tensor& host) {
  Weight weight;
  weight.master = host.to(options_.device);
  weight.value = weight.master;
  weight.grad = at::zeros_like(weight.master);
  return weight;
}

Weight ParameterMaker::matrix(const std::vector<Part>& parts, std::int64_t columns,
                              double deviation) {
  return matrix(parts, columns, deviation, /*tied_copy=*/false, /*init_name=*/{});
}

Weight ParameterMaker::matrix(const std::vector<Part>& parts, std::int64_t columns,
                              double deviation, bool tied_copy, std::string_view init_name) {
  std::int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  const auto accumulate = accumulate_dtype(options_.dtype);
  const at::Tensor host = at::empty({rows, columns}, at::dtype(accumulate));
  std::int64_t begin = 0;
  for (const Part& part : parts) {
    fill_normal(host.narrow(0, begin, part.rows), options_.seed,
                init_name.empty() ? std::string_view(part.name) : init_name, deviation,
                options_.init_threads);
    begin += part.rows;
  }
  Weight weight = wrap(host);
  if (options_.dtype != accumulate) weight.value = weight.master.to(options_.dtype);
  enter(parts, weight, /*decay=*/true, tied_copy);
  return weight;
}

Weight ParameterMaker::bias(const std::vector<Part>& parts) {
  std::int64_t size = 0;
  for (const Part& part : parts) size += part.rows;
  const Weight weight = wrap(at::zeros({size}, at::dtype(accumulate_dtype(options_.dtype))));
  enter(parts, weight, /*decay=*/false, /*tied_copy=*/false);
  return weight;
}

void ParameterMaker::enter(const std::vector<Part>& parts, const Weight& weight, bool decay,
                           bool tied_copy) {
  std::int64_t begin = 0;
  for (const Part& part : parts) {
    const auto view = [&](const at::Tensor& all) { return all.narrow(0, begin, part.rows); };
    result_.list.push_back(
        {part.name, view(weight.value), view(weight.master), view(weight.grad), decay, tied_copy});
    begin += part.rows;
  }
  result_.stored.push_back(weight);
}

Weight ParameterMaker::norm(const std::string& name, std::int64_t size) {
  const Weight weight = wrap(at::ones({size}, at::dtype(accumulate_dtype(options_.dtype))));
  enter({{name, size}}, weight, /*decay=*/false, /*tied_copy=*/false);
  return weight;
}

void ParameterMaker::embedding() {
  const ModelSpec& model = options_.model;
  result_.embedding =
      matrix({{kEmbeddingTensor, model.vocab_size}}, model.hidden_size, model.initializer_range);
}

void ParameterMaker::head() {
  const ModelSpec& model = options_.model;
  const bool tied = model.tie_word_embeddings;
  result_.final_norm = norm("model.norm.weight", model.hidden_size);
  if (tied && options_.embedding) {
    result_.head = result_.embedding;
  } else {
    result_.head = matrix({{"lm_head.weight", model.vocab_size}}, model.hidden_size,
                          model.initializer_range, tied, tied ? kEmbeddingTensor : "");
  }
}

}  // namespace infinipipe

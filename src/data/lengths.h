// Where sequence lengths come from when there is no text: files and models of known corpora.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

// A file of whole numbers from 1 to 2^40, one a line (blanks around it and blank lines at the end
// are allowed). Throws InputError naming file:line, also for a file without numbers.
std::vector<Tokens> read_lengths(const std::string& path);
// The same for text that is in memory.
std::vector<Tokens> parse_lengths(std::string_view text, std::string_view where);

// Lengths like those of a corpus: with probability 1 - tail_share log-normal(mu, sigma) conditioned
// to [32, 16384], else Pareto(16384, alpha) conditioned to at most the cap. The two known ones
// model the corpora that InfiniPipe (arXiv 2509.21275) was measured on.
struct LengthModel {
  std::string_view name;
  double mu;
  double sigma;
  double tail_share;
  double alpha;
};

// "github" and "commoncrawl".
std::span<const LengthModel> length_models();
// Throws InputError naming the known ones.
const LengthModel& length_model(std::string_view name);

// `count` lengths, each in [1, cap], the same on every machine for a seed. Where cap <= 16384 the
// tail's lengths all are the cap. `progress` hears every now and then how many are drawn.
std::vector<Tokens> synthetic_lengths(
    const LengthModel& model, std::int64_t count, Tokens cap, std::int64_t seed,
    const std::function<void(std::int64_t)>& progress = [](std::int64_t) {});

// The lengths that the trainer's sampler would take for `step` (>= 0) from these documents:
// `batch` of them. Throws InputError for an empty list, batch < 1 or step < 0.
std::vector<Tokens> sample_lengths(std::span<const Tokens> lengths, int batch, std::int64_t step,
                                   std::int64_t seed);

}  // namespace infinipipe

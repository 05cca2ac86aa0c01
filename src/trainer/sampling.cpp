#include "trainer/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "infinipipe/base/error.h"

namespace infinipipe {

std::int64_t sample_token(const std::vector<double>& logits, double temperature, double top_p,
                          Random& random) {
  if (!std::all_of(logits.begin(), logits.end(), [](double x) { return std::isfinite(x); })) {
    throw RunError("generate", "the model's logits are not finite", "expected numbers",
                   "its training diverged; use an earlier checkpoint");
  }
  std::vector<std::int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return logits[a] > logits[b]; });
  if (temperature <= 0.0) return order.front();

  std::vector<double> weights(order.size());
  const double top = logits[order.front()];
  double total = 0.0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    weights[i] = std::exp((logits[order[i]] - top) / temperature);
    total += weights[i];
  }
  double kept = 0.0;
  std::size_t count = 0;
  while (count < weights.size() && (count == 0 || kept < top_p * total)) kept += weights[count++];

  double draw = random.uniform() * kept;
  for (std::size_t i = 0; i < count; ++i) {
    draw -= weights[i];
    if (draw < 0.0) return order[i];
  }
  return order[count - 1];
}

}  // namespace infinipipe

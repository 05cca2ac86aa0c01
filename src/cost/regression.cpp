#include "cost/regression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "base/statistics.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr int kReweightings = 12;

// The normal equations of weighted rows whose features were scaled to a similar size.
struct Normal {
  std::size_t size = 0;
  std::vector<double> matrix;  // [size * size]
  std::vector<double> right;
};

// Solves the rows and columns of `active`; empty where they are linearly dependent.
std::vector<double> solve(const Normal& normal, const std::vector<std::size_t>& active) {
  const std::size_t n = active.size();
  std::vector<double> a(n * (n + 1));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      a[i * (n + 1) + j] = normal.matrix[active[i] * normal.size + active[j]];
    }
    a[i * (n + 1) + n] = normal.right[active[i]];
  }
  for (std::size_t column = 0; column < n; ++column) {
    std::size_t pivot = column;
    for (std::size_t row = column + 1; row < n; ++row) {
      if (std::abs(a[row * (n + 1) + column]) > std::abs(a[pivot * (n + 1) + column])) pivot = row;
    }
    const double largest = std::abs(a[pivot * (n + 1) + column]);
    if (largest < 1e-12 * normal.matrix[active[column] * normal.size + active[column]] ||
        largest == 0.0) {
      return {};
    }
    for (std::size_t k = 0; k <= n; ++k) {
      std::swap(a[pivot * (n + 1) + k], a[column * (n + 1) + k]);
    }
    for (std::size_t row = 0; row < n; ++row) {
      if (row == column) continue;
      const double factor = a[row * (n + 1) + column] / a[column * (n + 1) + column];
      for (std::size_t k = column; k <= n; ++k) {
        a[row * (n + 1) + k] -= factor * a[column * (n + 1) + k];
      }
    }
  }
  std::vector<double> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = a[i * (n + 1) + n] / a[i * (n + 1) + i];
  return x;
}

// Lawson and Hanson: a feature enters while it would lower the error, and leaves at 0.
std::vector<double> non_negative(const Normal& normal, const std::vector<bool>& used) {
  std::vector<double> x(normal.size, 0.0);
  std::vector<bool> active(normal.size, false);
  std::vector<bool> barred(normal.size, false);  // dependent on what is in already
  const auto list = [&] {
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < normal.size; ++i) {
      if (active[i]) indices.push_back(i);
    }
    return indices;
  };
  for (std::size_t round = 0; round < 10 * normal.size + 10; ++round) {
    std::size_t best = normal.size;
    double steepest = 0.0;
    for (std::size_t i = 0; i < normal.size; ++i) {
      if (!used[i] || active[i] || barred[i]) continue;
      double gradient = normal.right[i];
      for (std::size_t j = 0; j < normal.size; ++j) {
        gradient -= normal.matrix[i * normal.size + j] * x[j];
      }
      if (gradient > steepest + 1e-12 * std::abs(normal.right[i])) {
        steepest = gradient;
        best = i;
      }
    }
    if (best == normal.size) break;
    active[best] = true;
    while (true) {
      const std::vector<std::size_t> indices = list();
      const std::vector<double> next = solve(normal, indices);
      if (next.empty()) {
        active[best] = false;
        barred[best] = true;
        break;
      }
      double step = 1.0;
      for (std::size_t i = 0; i < indices.size(); ++i) {
        if (next[i] > 0.0) continue;
        const double at = x[indices[i]];
        step = std::min(step, at / (at - next[i]));
      }
      for (std::size_t i = 0; i < indices.size(); ++i) {
        x[indices[i]] += step * (next[i] - x[indices[i]]);
      }
      if (step >= 1.0) break;
      for (const std::size_t i : indices) {
        if (x[i] <= 1e-15) {
          x[i] = 0.0;
          active[i] = false;
        }
      }
      if (!active[best]) {  // it came in and went out at once: rounding
        barred[best] = true;
        break;
      }
    }
  }
  return x;
}

std::vector<double> relative_errors(std::span<const Observation> observations,
                                    std::span<const double> coefficients) {
  std::vector<double> errors;
  errors.reserve(observations.size());
  for (const Observation& each : observations) {
    errors.push_back(std::abs(predict(coefficients, each) / each.value - 1.0));
  }
  return errors;
}

void check(std::span<const Observation> observations, std::size_t features) {
  if (observations.empty()) {
    throw InputError("regression", "found no observations", "expected at least one");
  }
  for (const Observation& each : observations) {
    bool good = each.features.size() == features && std::isfinite(each.value) && each.value > 0.0;
    for (const double feature : each.features) good = good && std::isfinite(feature);
    if (!good) {
      throw InputError(
          "regression", "found an observation of " + std::to_string(each.value),
          "expected a finite value above 0 and " + std::to_string(features) + " finite features");
    }
  }
}

}  // namespace

double predict(std::span<const double> coefficients, const Observation& observation) {
  double sum = 0.0;
  for (std::size_t i = 0; i < coefficients.size(); ++i) {
    sum += coefficients[i] * observation.features[i];
  }
  return sum;
}

Fit fit_relative(std::span<const Observation> observations, const std::vector<bool>& used) {
  const std::size_t size = used.size();
  check(observations, size);
  // Relative rows: features / value against 1, each feature scaled to a root mean square of 1.
  std::vector<double> scale(size, 0.0);
  for (const Observation& each : observations) {
    for (std::size_t i = 0; i < size; ++i) {
      const double x = each.features[i] / each.value;
      scale[i] += x * x;
    }
  }
  for (double& s : scale) {
    s = s > 0.0 ? std::sqrt(s / static_cast<double>(observations.size())) : 1.0;
  }
  std::vector<double> weights(observations.size(), 1.0);
  Fit fit;
  for (int round = 0; round < kReweightings; ++round) {
    Normal normal{size, std::vector<double>(size * size, 0.0), std::vector<double>(size, 0.0)};
    for (std::size_t n = 0; n < observations.size(); ++n) {
      const Observation& each = observations[n];
      for (std::size_t i = 0; i < size; ++i) {
        const double x = each.features[i] / each.value / scale[i];
        normal.right[i] += weights[n] * x;
        for (std::size_t j = 0; j < size; ++j) {
          normal.matrix[i * size + j] += weights[n] * x * each.features[j] / each.value / scale[j];
        }
      }
    }
    std::vector<double> x = non_negative(normal, used);
    for (std::size_t i = 0; i < size; ++i) x[i] /= scale[i];
    const bool settled = x == fit.coefficients;
    fit.coefficients = std::move(x);
    if (settled) break;
    const std::vector<double> errors = relative_errors(observations, fit.coefficients);
    const double knee = std::max(2.0 * quantile(errors, 0.5), 1e-9);
    for (std::size_t n = 0; n < errors.size(); ++n) {
      weights[n] = errors[n] <= knee ? 1.0 : knee / errors[n];
    }
  }
  const std::vector<double> errors = relative_errors(observations, fit.coefficients);
  fit.error_median = quantile(errors, 0.5);
  fit.error_p95 = quantile(errors, 0.95);
  return fit;
}

double cross_validated_error(std::span<const Observation> observations,
                             const std::vector<bool>& used, int folds) {
  check(observations, used.size());
  std::vector<int> groups;
  for (const Observation& each : observations) groups.push_back(each.group);
  std::sort(groups.begin(), groups.end());
  groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
  folds = std::min(folds, static_cast<int>(groups.size()));
  if (folds < 2) return fit_relative(observations, used).error_median;
  std::vector<double> errors;
  for (int fold = 0; fold < folds; ++fold) {
    std::vector<Observation> train;
    std::vector<Observation> test;
    for (const Observation& each : observations) {
      const auto at = std::lower_bound(groups.begin(), groups.end(), each.group) - groups.begin();
      (at % folds == fold ? test : train).push_back(each);
    }
    const Fit fit = fit_relative(train, used);
    const std::vector<double> some = relative_errors(test, fit.coefficients);
    errors.insert(errors.end(), some.begin(), some.end());
  }
  return quantile(errors, 0.5);
}

std::size_t simplest_form(std::span<const Observation> observations,
                          std::span<const std::vector<bool>> forms, double tolerance) {
  INFINIPIPE_ASSERT(!forms.empty(), "no form to choose from");
  std::vector<double> errors;
  for (const std::vector<bool>& form : forms) {
    errors.push_back(cross_validated_error(observations, form));
  }
  const double best = *std::min_element(errors.begin(), errors.end());
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (errors[i] <= best + tolerance) return i;
  }
  return errors.size() - 1;
}

}  // namespace infinipipe

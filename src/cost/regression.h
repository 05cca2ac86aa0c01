// Robust least squares with coefficients that are never negative. It turns a machine's measured
// times into a profile.
#pragma once

#include <span>
#include <vector>

namespace infinipipe {

// One measurement: value ~ sum of coefficient x feature. The value is above 0.
struct Observation {
  std::vector<double> features;
  double value = 0.0;
  int group = 0;  // observations of one group are left out together in cross-validation
};

struct Fit {
  std::vector<double> coefficients;  // >= 0, as many as features
  double error_median = 0.0;         // of |predicted / measured - 1|
  double error_p95 = 0.0;
};

double predict(std::span<const double> coefficients, const Observation& observation);

// Minimises the squared *relative* errors under coefficients >= 0 (Lawson and Hanson's active set),
// then again with weights that fall as 1 / |error| beyond twice the median error (Huber), until the
// weights settle. `used`: which features may be above 0. Deterministic. Throws InputError where
// there are no observations, or values or features that are not finite, or a value not above 0.
Fit fit_relative(std::span<const Observation> observations, const std::vector<bool>& used);

// The median relative error over `folds` parts of the groups, each predicted by a fit of the
// others. Groups are dealt in order of their numbers.
double cross_validated_error(std::span<const Observation> observations,
                             const std::vector<bool>& used, int folds = 5);

// The first of `forms` (simplest first) whose cross-validated error is within `tolerance` of the
// best form's, as an absolute difference of relative errors.
std::size_t simplest_form(std::span<const Observation> observations,
                          std::span<const std::vector<bool>> forms, double tolerance = 0.002);

}  // namespace infinipipe

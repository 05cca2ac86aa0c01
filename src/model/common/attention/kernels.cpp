#include "model/common/attention/kernels.h"

#include <cstring>
#include <type_traits>

namespace infinipipe::attention_kernels {

namespace {

struct Set {
  const char* name;
  bool (*runs_here)();
  const Kernels<float>& (*of_float)();
  const Kernels<float, Narrow>& (*of_narrow)();
  const Kernels<double>& (*of_double)();
};

// Best first.
const Set kSets[] = {
#if defined(__x86_64__)
    {"avx512",
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
     },
     avx512_float, avx512_narrow, avx512_double},
    {"avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
     avx2_float, avx2_narrow, avx2_double},
#endif
    {"base", [] { return true; }, base_float, base_narrow, base_double},
};

template <class Scalar, class In>
const Kernels<Scalar, In>& of(const Set& set) {
  if constexpr (std::is_same_v<In, Narrow>) {
    return set.of_narrow();
  } else if constexpr (std::is_same_v<Scalar, float>) {
    return set.of_float();
  } else {
    return set.of_double();
  }
}

template <class Scalar, class In>
const Kernels<Scalar, In>& choose() {
  for (const Set& set : kSets)
    if (set.runs_here()) return of<Scalar, In>(set);
  __builtin_unreachable();  // the last one always does
}

}  // namespace

template <class Scalar, class In>
const Kernels<Scalar, In>& best() {
  static const Kernels<Scalar, In>& chosen = choose<Scalar, In>();
  return chosen;
}

template <class Scalar, class In>
const Kernels<Scalar, In>* named(const char* name) {
  for (const Set& set : kSets)
    if (std::strcmp(set.name, name) == 0 && set.runs_here()) return &of<Scalar, In>(set);
  return nullptr;
}

template const Kernels<float>& best<float>();
template const Kernels<float, Narrow>& best<float, Narrow>();
template const Kernels<double>& best<double>();
template const Kernels<float>* named<float>(const char* name);
template const Kernels<float, Narrow>* named<float, Narrow>(const char* name);
template const Kernels<double>* named<double>(const char* name);

}  // namespace infinipipe::attention_kernels

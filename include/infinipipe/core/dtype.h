// The dtypes that training computes in: what a configuration may name, and the bytes of each.
#pragma once

#include <array>
#include <cstddef>

namespace infinipipe {

enum class Dtype { kFloat64, kFloat32, kBfloat16 };

// Bytes of one number.
struct DtypeBytes {
  double element;      // activations and messages
  double accumulator;  // softmax statistics, dK and dV
  double state;        // a parameter's weight, gradient and AdamW moments; of it:
  double gradient;
  double moments;
};

struct DtypeRow {
  Dtype value;
  const char* name;  // in configurations and profiles
  const char* line;  // one line for help
  DtypeBytes bytes;
  // Of a profile's bytes of states, the part that is weights, and as much again gradients
  // (docs/baselines.md): what ZeRO gathers and reduces.
  double weight_share;
};

// In the order of the enum.
inline constexpr std::array<DtypeRow, 3> kDtypes = {{
    {.value = Dtype::kFloat64,
     .name = "float64",
     .line = "for checks, on a CPU",
     .bytes = {8.0, 8.0, 32.0, 8.0, 16.0},
     .weight_share = 4.0 / 16.0},
    {.value = Dtype::kFloat32,
     .name = "float32",
     .line = "the default",
     .bytes = {4.0, 4.0, 16.0, 4.0, 8.0},
     .weight_share = 4.0 / 16.0},
    {.value = Dtype::kBfloat16,
     .name = "bfloat16",
     .line = "with float32 master weights",
     .bytes = {2.0, 4.0, 18.0, 4.0, 8.0},  // the state holds the master weight too
     .weight_share = 2.0 / 16.0},
}};

constexpr const DtypeRow& row_of(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)]; }
constexpr const char* to_string(Dtype dtype) { return row_of(dtype).name; }

}  // namespace infinipipe

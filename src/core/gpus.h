// GPUs that a machine can be planned for before one is there: what is published of each, and the
// names by which cluster.profile asks for an estimate. Sources and errors: docs/profile.md.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "infinipipe/base/units.h"

namespace infinipipe {

// Rates of one card as long operations reach them, not its peaks; FLOPs and bytes per second.
struct GpuRow {
  const char* name;
  const char* line;           // one line for help
  double peak;                // bfloat16 matrix products on the data sheet, without sparsity
  double matmul;              // bfloat16, shapes of training
  double attention_forward;   // FlashAttention-2, causal, heads of 128
  double attention_backward;  // as attention_forward
  double float32;             // matrix products without tensor cores
  double memory;              // reading and writing
  Bytes memory_bytes;         // all of it, as the driver counts
  double link;                // to another card of the node: NVLink, else PCI Express
  double network;             // to another node, a card's share
  double error;               // how far times may be off, as a share of what is measured
};

inline constexpr double kGpuGiB = 1024.0 * 1024.0 * 1024.0;
inline constexpr std::array<GpuRow, 7> kGpus = {{
    {.name = "h100",
     .line = "NVIDIA H100 SXM, 80 GB",
     .peak = 989e12,
     .matmul = 650e12,
     .attention_forward = 335e12,
     .attention_backward = 300e12,
     .float32 = 50e12,
     .memory = 3.0e12,
     .memory_bytes = 79.1 * kGpuGiB,
     .link = 360e9,
     .network = 45e9,
     .error = 0.25},
    {.name = "a100",
     .line = "NVIDIA A100 SXM, 80 GB",
     .peak = 312e12,
     .matmul = 218e12,
     .attention_forward = 190e12,
     .attention_backward = 170e12,
     .float32 = 18e12,
     .memory = 1.8e12,
     .memory_bytes = 79.1 * kGpuGiB,
     .link = 230e9,
     .network = 22e9,
     .error = 0.25},
    {.name = "h200",
     .line = "NVIDIA H200 SXM, 141 GB",
     .peak = 989e12,
     .matmul = 650e12,
     .attention_forward = 335e12,
     .attention_backward = 300e12,
     .float32 = 50e12,
     .memory = 4.3e12,
     .memory_bytes = 139.8 * kGpuGiB,
     .link = 360e9,
     .network = 45e9,
     .error = 0.25},
    {.name = "b200",
     .line = "NVIDIA B200, 180 GB",
     .peak = 2250e12,
     .matmul = 1450e12,
     .attention_forward = 400e12,
     .attention_backward = 350e12,
     .float32 = 55e12,
     .memory = 6.2e12,
     .memory_bytes = 178.3 * kGpuGiB,
     .link = 720e9,
     .network = 45e9,
     .error = 0.35},
    {.name = "4090",
     .line = "NVIDIA GeForce RTX 4090, 24 GB",
     .peak = 165e12,
     .matmul = 150e12,
     .attention_forward = 150e12,
     .attention_backward = 130e12,
     .float32 = 53e12,
     .memory = 0.92e12,
     .memory_bytes = 23.6 * kGpuGiB,
     .link = 20e9,
     .network = 1.4e9,
     .error = 0.35},
    {.name = "a10",
     .line = "NVIDIA A10, 24 GB",
     .peak = 125e12,
     .matmul = 69e12,
     .attention_forward = 60e12,
     .attention_backward = 50e12,
     .float32 = 18e12,
     .memory = 0.54e12,
     .memory_bytes = 22.0 * kGpuGiB,
     .link = 20e9,
     .network = 1.4e9,
     .error = 0.4},
    {.name = "l40s",
     .line = "NVIDIA L40S, 48 GB",
     .peak = 362e12,
     .matmul = 215e12,
     .attention_forward = 170e12,
     .attention_backward = 140e12,
     .float32 = 55e12,
     .memory = 0.78e12,
     .memory_bytes = 44.4 * kGpuGiB,
     .link = 20e9,
     .network = 1.4e9,
     .error = 0.4},
}};

// What tensors may take of a GPU's memory: all but 2 GiB, for the driver's context, libraries'
// workspace and code, and a sixteenth, for what the caching allocator holds beside live tensors. At
// least half of it.
constexpr Bytes usable_gpu_memory(Bytes total) {
  return std::max(0.5 * total, (1.0 - 1.0 / 16.0) * total - 2.0 * kGpuGiB);
}

// cluster.profile where it names no file: this word alone, or with a colon and a GPU's name behind.
inline constexpr std::string_view kEstimate = "estimate";
constexpr bool is_estimate(std::string_view profile) {
  return profile == kEstimate ||
         (profile.starts_with(kEstimate) && profile.substr(kEstimate.size()).starts_with(':'));
}
// The GPU that such a name asks for; null where it names none. Throws InputError("cluster.profile",
// ...) with all names for one that is not in the table.
const GpuRow* estimated_gpu(std::string_view profile);

}  // namespace infinipipe

// What the card is, and how fast its simplest operations are: what all else is held against.
#include <c10/core/CachingDeviceAllocator.h>

#include "core/gpus.h"
#include "gpu/check.h"
#include "profile/profile_machine.h"

namespace infinipipe::gpu_check {

namespace {

// The row of core/gpus.h whose name is the longest that stands in the card's; null: none.
const GpuRow* row_of_card(const std::string& card) {
  const auto lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  };
  const GpuRow* found = nullptr;
  for (const GpuRow& gpu : kGpus) {
    const std::string name = gpu.name;
    if (lower(card).find(name) == std::string::npos) continue;
    if (found == nullptr || name.size() > std::string(found->name).size()) found = &gpu;
  }
  return found;
}

}  // namespace

void check_device(const Setting& setting, Report& report) {
  if (setting.gpu() && !at::detail::getCUDAHooks().hasCUDART()) {
    report.holds("this build has CUDA", false, "built without it: use the bundle of `make cuda`");
    return;
  }
  const at::Tensor numbers = at::arange(1000, setting.of(at::kDouble));  // or the driver's reason
  std::printf("  %s\n", machine_name(setting.device).c_str());
  report.at_most("a sum on the device", std::abs(numbers.sum().item<double>() - 499500.0), 0.0);
  if (!setting.gpu()) {
    report.skipped("memory", "needs a GPU");
    return;
  }
  if (const GpuRow* const gpu = row_of_card(setting.card)) {
    report.value("peak", gpu->peak, "FLOP/s");
  } else {
    report.skipped("peak", "no row for '" + setting.card + "' in core/gpus.h");
  }
  const auto [free, total] = c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(0);
  report.value("memory.free", static_cast<double>(free), "B");
  report.value("memory.total", static_cast<double>(total), "B");
}

namespace {

void copies(const Setting& setting, Report& report) {
  const std::int64_t bytes = setting.small ? 1 << 22 : 1 << 30;
  const at::Tensor from = at::randint(255, {bytes}, setting.of(at::kByte));
  const at::Tensor to = at::empty_like(from);
  const double seconds = median_seconds(setting, 9, [&](int) { to.copy_(from); });
  report.value("copy", 2.0 * static_cast<double>(bytes) / seconds, "B/s");
  if (!setting.gpu()) {
    report.skipped("copy.host_to_device", "needs a GPU");
    report.skipped("copy.device_to_host", "needs a GPU");
    return;
  }
  const at::Tensor host = at::empty({bytes / 4}, at::TensorOptions(at::kByte).pinned_memory(true));
  const at::Tensor device = at::empty({bytes / 4}, setting.of(at::kByte));
  const auto rate = [&](double taken) { return 0.25 * static_cast<double>(bytes) / taken; };
  report.value("copy.host_to_device",
               rate(median_seconds(setting, 7, [&](int) { device.copy_(host, true); })), "B/s");
  report.value("copy.device_to_host",
               rate(median_seconds(setting, 7, [&](int) { host.copy_(device, true); })), "B/s");
}

// Products of training: 8192 tokens times a layer's widest matrix, by preset.
void products(const Setting& setting, Report& report) {
  struct Shape {
    const char* name;
    std::int64_t rows, inner, columns;
  };
  const std::vector<Shape> shapes = setting.small
                                        ? std::vector<Shape>{{"square", 256, 256, 256}}
                                        : std::vector<Shape>{{"square", 8192, 8192, 8192},
                                                             {"1b.gate_up", 8192, 2048, 16384},
                                                             {"1b.down", 8192, 8192, 2048},
                                                             {"8b.gate_up", 8192, 4096, 28672},
                                                             {"8b.down", 8192, 14336, 4096}};
  for (const Shape& shape : shapes) {
    const double flops = 2.0 * static_cast<double>(shape.rows * shape.inner * shape.columns);
    const at::Tensor a = at::randn({shape.rows, shape.inner}, setting.of(at::kBFloat16));
    const at::Tensor b = at::randn({shape.columns, shape.inner}, setting.of(at::kBFloat16));
    at::Tensor out = at::empty({shape.rows, shape.columns}, setting.of(at::kBFloat16));
    const double seconds =
        median_seconds(setting, setting.small ? 3 : 15, [&](int) { at::mm_out(out, a, b.t()); });
    report.value(std::string("matmul.bfloat16.") + shape.name, flops / seconds, "FLOP/s");
  }
}

void launches(const Setting& setting, Report& report) {
  at::Tensor one = at::ones({1}, setting.of(at::kFloat));
  constexpr int kCalls = 2000;
  for (int i = 0; i < 100; ++i) one.add_(1.0);
  synchronize(setting);
  const double begin = now();
  for (int i = 0; i < kCalls; ++i) one.add_(1.0);
  report.value("launch", (now() - begin) / kCalls, "s");
  synchronize(setting);
  const double idle = now();
  for (int i = 0; i < kCalls; ++i) synchronize(setting);
  report.value("synchronize", (now() - idle) / kCalls, "s");
}

}  // namespace

void measure_ceilings(const Setting& setting, Report& report) {
  copies(setting, report);
  products(setting, report);
  launches(setting, report);
}

}  // namespace infinipipe::gpu_check

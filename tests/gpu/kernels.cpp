// Every kernel between products and attention, and the optimizer's: what a device's tensors get,
// into memory that held NaN, against float64 on the processor by composed operations.
#include "gpu/calls.h"
#include "model/common/fused/launchers.h"
#include "runtime/optimizer_loops_aten.h"

namespace infinipipe::gpu_check {
namespace {

// Memory that the allocator hands out next holds NaN: what a kernel leaves out is then seen.
void poison(const Setting& setting) {
  std::vector<at::Tensor> held;
  for (std::int64_t bytes = 512; bytes <= (setting.small ? 1 << 16 : 1 << 27); bytes *= 2) {
    for (int i = 0; i < 3; ++i) {
      held.push_back(
          at::full({bytes / 4}, std::numeric_limits<double>::quiet_NaN(), setting.of(at::kFloat)));
    }
  }
}

struct Shape {
  std::int64_t tokens, hidden, intermediate, vocab;
  kernels::Heads heads;
};

// Tensors of one dtype, drawn in float64: `exact` on the processor, `device` what is tested.
class Operands final {
 public:
  Operands(const Setting& setting, at::ScalarType dtype, Random& random)
      : setting_(setting), dtype_(dtype), random_(random) {}

  struct Pair {
    at::Tensor exact;
    at::Tensor device;
  };
  Pair draw(at::IntArrayRef sizes) { return draw(sizes, dtype_); }
  Pair draw(at::IntArrayRef sizes, at::ScalarType dtype) {
    const at::Tensor exact = random_numbers(random_, sizes).to(dtype).to(at::kDouble);
    return {exact, exact.to(setting_.of(dtype))};
  }

 private:
  const Setting& setting_;
  at::ScalarType dtype_;
  Random& random_;
};

void check_norm(const Setting& setting, const Shape& shape, Operands& operands,
                const std::string& name, Worst& worst) {
  auto x = operands.draw({shape.tokens, shape.hidden});
  auto weight = operands.draw({shape.hidden}, at::kFloat);
  auto grad = operands.draw({shape.tokens, shape.hidden});
  auto residual = operands.draw({shape.tokens, shape.hidden});
  auto sum = operands.draw({shape.hidden}, at::kFloat);
  const kernels::Normed found = on_device::rms_norm(setting, x.device, weight.device, 1e-5);
  const kernels::Normed expected = kernels::composed::rms_norm(x.exact, weight.exact, 1e-5);
  worst.add(name + "rms_norm", relative_error(found.value, expected.value));
  worst.add(name + "rms_norm.rstd", relative_error(found.rstd, expected.rstd));
  worst.add(name + "rms_norm.again",
            relative_error(on_device::rms_norm_again(setting, x.device, found.rstd, weight.device),
                           found.value) == 0.0
                ? 0.0
                : 1.0);
  on_device::rms_norm_backward(setting, grad.device, x.device, found.rstd, weight.device,
                               residual.device, sum.device);
  kernels::composed::rms_norm_backward(grad.exact, x.exact, expected.rstd, weight.exact,
                                       residual.exact, sum.exact);
  worst.add(name + "rms_norm_backward", relative_error(grad.device, grad.exact));
  worst.add(name + "rms_norm_backward.weight", relative_error(sum.device, sum.exact));
}

void check_rope(const Setting& setting, const Shape& shape, at::ScalarType dtype,
                Operands& operands, const std::string& name, Worst& worst) {
  const kernels::Heads& heads = shape.heads;
  auto qkv = operands.draw({shape.tokens, heads.query_width() + 2 * heads.kv_width()});
  auto table = operands.draw({4 * shape.tokens, heads.dim}, at::kFloat);
  const at::Tensor positions = at::arange(shape.tokens, at::kLong) * 3;
  const at::Tensor there = positions.to(setting.tensors());
  const auto found = on_device::rope_split(setting, qkv.device, there, table.device, heads);
  const auto expected = kernels::composed::rope_split(qkv.exact, positions, table.exact, heads);
  worst.add(name + "rope_split.query", relative_error(found.query, expected.query));
  worst.add(name + "rope_split.key", relative_error(found.key, expected.key));
  worst.add(name + "rope_split.value", relative_error(found.value, expected.value));
  const auto exact = [](const at::Tensor& x) { return x.to(at::kCPU).to(at::kDouble); };
  const kernels::QueryKeyValue grad{exact(found.query), exact(found.key), exact(found.value)};
  worst.add(name + "rope_merge",
            relative_error(
                on_device::rope_merge(setting, found, there, table.device, heads, dtype),
                kernels::composed::rope_merge(grad, positions, table.exact, heads, at::kDouble)));
}

void check_swiglu(const Setting& setting, const Shape& shape, Operands& operands,
                  const std::string& name, Worst& worst) {
  auto gate_up = operands.draw({shape.tokens, 2 * shape.intermediate});
  auto grad = operands.draw({shape.tokens, shape.intermediate});
  const at::Tensor found = on_device::swiglu(setting, gate_up.device);
  worst.add(name + "swiglu", relative_error(found, kernels::composed::swiglu(gate_up.exact)));
  on_device::swiglu_backward(setting, gate_up.device, grad.device);
  kernels::composed::swiglu_backward(gate_up.exact, grad.exact);
  worst.add(name + "swiglu_backward", relative_error(gate_up.device, gate_up.exact));
  worst.add(name + "swiglu_backward.product", relative_error(grad.device, grad.exact));
}

void check_cross_entropy(const Setting& setting, const Shape& shape, Random& random,
                         Operands& operands, const std::string& name, Worst& worst) {
  auto logits = operands.draw({shape.tokens, shape.vocab});
  at::Tensor target = at::empty({shape.tokens}, at::kLong);
  at::Tensor weight = at::ones({shape.tokens}, at::kFloat);
  for (std::int64_t i = 0; i < shape.tokens; ++i)
    target[i] = static_cast<std::int64_t>(random.between(0, shape.vocab - 1));
  if (shape.tokens > 1) weight[0] = 0.0;
  const auto found = on_device::cross_entropy(setting, logits.device, target.to(setting.tensors()),
                                              weight.to(setting.tensors()), 0.25, true)
                         .item<double>();
  const auto expected =
      kernels::composed::cross_entropy(logits.exact, target, weight, 0.25, true).item<double>();
  worst.add(name + "cross_entropy.loss", std::abs(found - expected) / expected);
  worst.add(name + "cross_entropy.gradient", relative_error(logits.device, logits.exact));
}

void check_optimizer(const Setting& setting, Random& random, Report& report) {
  const fused::Launchers* const launchers = setting.gpu() ? fused::launchers() : nullptr;
  const std::int64_t count = setting.small ? 1237 : 3000017;  // odd, so that tails are seen
  const loops::AdamWNumbers numbers{0.5, 0.9, 0.95, 1e-8, 0.99, 1e-2, 1.7};
  std::vector<at::Tensor> exact, device;
  for (int i = 0; i < 4; ++i) {
    exact.push_back(random_numbers(random, {count}).to(at::kFloat).to(at::kDouble));
    if (i == 3) exact.back().abs_();  // second moments
    device.push_back(exact.back().to(setting.of(at::kFloat)));
  }
  at::Tensor copy =
      at::full({count}, std::numeric_limits<double>::quiet_NaN(), setting.of(at::kBFloat16));
  const double squares = device_loops::sum_of_squares(launchers, device);
  double expected = 0.0;
  for (const at::Tensor& each : exact) expected += each.pow(2).sum().item<double>();
  report.at_most("float32.squares", std::abs(squares - expected) / expected, 1e-12);
  device_loops::adamw(launchers, device[0], device[1], device[2], device[3], copy, numbers);
  loops::adamw(exact[0].data_ptr<double>(), exact[1].data_ptr<double>(),
               exact[2].data_ptr<double>(), exact[3].data_ptr<double>(), count, numbers);
  report.at_most("float32.adamw", relative_error(device[0], exact[0]), 1e-6);
  report.at_most("float32.adamw.first_moment", relative_error(device[2], exact[2]), 1e-6);
  report.at_most("float32.adamw.second_moment", relative_error(device[3], exact[3]), 1e-6);
  report.at_most("float32.adamw.copy", relative_error(copy, device[0]), 4e-3);
}

}  // namespace

void check_kernels(const Setting& setting, Report& report) {
  if (setting.gpu())
    report.holds("kernels of our own serve this card", fused::launchers() != nullptr);
  std::vector<Shape> shapes = {{5, 48, 40, 61, {3, 1, 32, 0}}, {1, 8, 8, 9, {1, 1, 16, 0}}};
  if (!setting.small) {
    shapes.push_back({65, 2048, 8192, 128256, {32, 8, 64, 0}});
    shapes.push_back({333, 4096, 14336, 32000, {32, 8, 128, 0}});
    shapes.push_back({129, 36, 20, 1001, {2, 1, 12, 0}});  // widths without a kernel
  }
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Worst worst;
    const std::string name = std::string(toString(dtype)) + ".";
    for (std::size_t i = 0; i < shapes.size() && report.has_time(); ++i) {
      Random random(5, i);
      Operands operands(setting, dtype, random);
      poison(setting);
      check_norm(setting, shapes[i], operands, name, worst);
      check_rope(setting, shapes[i], dtype, operands, name, worst);
      check_swiglu(setting, shapes[i], operands, name, worst);
      check_cross_entropy(setting, shapes[i], random, operands, name, worst);
    }
    worst.tell(report, dtype == at::kFloat ? 1e-5 : 1e-2);
  }
  Random random(6);
  poison(setting);
  check_optimizer(setting, random, report);
}

}  // namespace infinipipe::gpu_check

// gpu_check: what tools/gpu_check.sh runs of C++, a step a call. Tests print "ok" or "WRONG" and
// decide the exit code, measurements print figures.
//   gpu_check STEP [--device cpu|cuda] [--card NAME] [--json FILE] [--seconds S] [--small]
//   gpu_check --torch       the version of LibTorch that it was built for
#include <ATen/Parallel.h>
#include <torch/headeronly/version.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "core/names.h"
#include "gpu/check.h"
#include "infinipipe/base/error.h"

namespace infinipipe::gpu_check {
namespace {

struct Step {
  const char* name;
  void (*run)(const Setting& setting, Report& report);
};
constexpr std::array<Step, 7> kSteps = {{{"device", check_device},
                                         {"ceilings", measure_ceilings},
                                         {"attention", check_attention},
                                         {"kernels", check_kernels},
                                         {"model", check_model},
                                         {"meter", check_meter},
                                         {"operations", measure_operations}}};

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() == 1 && arguments[0] == "--torch") {
    std::printf("%d.%d.%d\n", TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, TORCH_VERSION_PATCH);
    return 0;
  }
  if (arguments.empty()) {
    throw InputError("gpu_check", "no step", "expected " + listed(names_of(kSteps)));
  }
  const Step& step = named(kSteps, arguments[0], "gpu_check");
  Setting setting;
  std::string json;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& flag = arguments[i];
    if (flag == "--small") {
      setting.small = true;
      continue;
    }
    if (i + 1 == arguments.size()) throw InputError("gpu_check", "found " + flag + " at the end");
    const std::string& value = arguments[++i];
    if (flag == "--device") {
      setting.device = named(kDevices, value, "--device").value;
    } else if (flag == "--card") {
      setting.card = value;
    } else if (flag == "--json") {
      json = value;
    } else if (flag == "--seconds") {
      setting.seconds = std::atof(value.c_str());
    } else {
      throw InputError("gpu_check", "found " + flag,
                       "expected --device, --card, --json, --seconds or --small");
    }
  }
  setting.small = setting.small || !setting.gpu();
  Report report(step.name, json, setting.seconds);
  try {
    step.run(setting, report);
  } catch (const std::exception& error) {
    std::string line = error.what();  // LibTorch's have a stack behind the first line
    report.holds("no error", false, line.substr(0, line.find('\n')));
  }
  return report.right() ? 0 : 1;
}

}  // namespace
}  // namespace infinipipe::gpu_check

int main(int count, char** arguments) {
  try {
    return infinipipe::gpu_check::run({arguments + 1, arguments + count});
  } catch (const infinipipe::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}

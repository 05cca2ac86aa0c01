#include "dist/gloo.h"

#include <torch/headeronly/version.h>

#include <chrono>
#include <memory>

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11,
              "src/dist/gloo_headers was checked with torch 2.11; compare it with what "
              "ProcessGroupGloo.hpp uses now, run dist_test, and change this line");

namespace infinipipe {

GroupFactory gloo_groups(const std::string& address, Seconds seconds) {
  // One device, which is one socket and one thread, for all groups.
  const auto device = c10d::ProcessGroupGloo::createDeviceForHostname(address);
  const std::chrono::milliseconds patience(static_cast<std::int64_t>(1000 * seconds));
  return [device, patience](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
    auto options = c10d::ProcessGroupGloo::Options::create(patience);
    options->devices = {device};
    options->threads = 1;  // for collectives, of which none is used
    return c10::intrusive_ptr<c10d::Backend>(
        c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, std::move(options)));
  };
}

}  // namespace infinipipe

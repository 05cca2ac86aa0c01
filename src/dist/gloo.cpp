#include "dist/gloo.h"

#include <sched.h>
#include <torch/headeronly/version.h>

#include <chrono>
#include <memory>

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

static_assert(TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR == 11,
              "src/dist/gloo_headers was checked with torch 2.11; compare it with what "
              "ProcessGroupGloo.hpp uses now, run dist_test, and change this line");

namespace infinipipe {
namespace {

// Threads that are made while this lives do not interrupt others when they wake; they run where a
// processor is free, or when whoever computes there has had its share.
class MakesPatientThreads final {
 public:
  MakesPatientThreads()
      : changed_(sched_getscheduler(0) == SCHED_OTHER &&
                 sched_setscheduler(0, SCHED_BATCH, &kNone) == 0) {}
  ~MakesPatientThreads() {
    if (changed_) sched_setscheduler(0, SCHED_OTHER, &kNone);
  }
  MakesPatientThreads(const MakesPatientThreads&) = delete;
  MakesPatientThreads& operator=(const MakesPatientThreads&) = delete;

 private:
  static constexpr sched_param kNone{};
  bool changed_;
};

}  // namespace

GroupFactory gloo_groups(const std::string& address, Seconds seconds) {
  // One device, which is one socket and one thread, for all groups. That thread only tries a
  // connection's lock and asks again when it is taken. A stage thread holds it while it posts a
  // message; woken on the same processor, Gloo's thread would keep it from going on and turn in
  // circles until its time there is over (4 ms seen, 10 to 20 times a second).
  const MakesPatientThreads patient;
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

// A system that tries settings one by one on a batch: what deepspeed, flexsp and megatron share.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/baselines/system.h"

namespace infinipipe {

// `Setting` is what a run fixes. run() evaluates every setting that is left (one after tune()) and
// keeps the fastest that fits, the earlier among equals.
class StaticSystem : public System {
 public:
  StaticSystem(std::string name, int settings) : name_(std::move(name)) {
    for (int s = 0; s < settings; ++s) left_.push_back(s);
  }

  const std::string& name() const final { return name_; }
  void tune(std::span<const std::vector<Tokens>> sample) final;
  SystemResult run(const std::vector<Tokens>& sequences) const final;

 protected:
  // One setting on one batch. Only results faster than `enough` are of interest: a setting that is
  // proven to be no faster may return kOk with seconds = infinity. `lower_bound`: of this setting;
  // 0 where it is proven that nothing fits.
  virtual SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                                   Seconds enough) const = 0;
  virtual std::string out_of_memory(const std::vector<Tokens>& sequences) const = 0;

 private:
  std::string name_;
  std::vector<int> left_;
};

}  // namespace infinipipe

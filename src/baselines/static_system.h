// A system that tries settings one by one on a batch: what deepspeed, flexsp and megatron share.
#pragma once

#include <string>
#include <vector>

#include "baselines/system.h"

namespace infinipipe {

// A setting is what a run fixes. run() evaluates every setting (after tune() the chosen one, and
// the others only where that one does not fit) and keeps the fastest, the earlier among equals.
// tune() looks at eight batches of the sample at most: evenly spread, with the one of the longest
// sequence and the one of the most tokens among them.
class StaticSystem : public System {
 public:
  StaticSystem(std::string name, int settings) : name_(std::move(name)), settings_(settings) {}

  const std::string& name() const final { return name_; }
  void tune(std::span<const std::vector<Tokens>> sample) final;
  SystemResult run(const std::vector<Tokens>& sequences) const final;

 protected:
  // One setting on one batch. Only results faster than `enough` matter: a setting that is certain
  // to be no faster may return kOk with seconds = infinity. Its `lower_bound` is for this setting
  // alone, and 0 where it is certain that nothing fits.
  virtual SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                                   Seconds enough) const = 0;
  virtual std::string out_of_memory(const std::vector<Tokens>& sequences) const = 0;
  // That line, where a sequence alone is too long for every setting.
  std::string fits_at_none(const std::vector<Tokens>& sequences, Bytes limit) const;

 private:
  SystemResult best_of(int begin, int end, const std::vector<Tokens>& sequences) const;

  std::string name_;
  int settings_;
  int tuned_ = -1;
};

// Which batches of a sample a tuning looks at: at most `most`, ascending, evenly spread, with those
// of the longest sequence and of the most tokens.
std::vector<std::size_t> tuning_batches(std::span<const std::vector<Tokens>> sample,
                                        std::size_t most);

}  // namespace infinipipe

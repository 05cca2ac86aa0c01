// What import and export share.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "infinipipe/base/units.h"

namespace infinipipe {

// Says how far a conversion is, at most every gigabyte, and stops it.
class ConversionProgress final {
 public:
  ConversionProgress(Bytes total, const std::atomic<bool>* stop,
                     const std::function<void(const std::string&)>& log)
      : total_(total), stop_(stop), log_(log) {}

  // Throws Stopped where that was asked for.
  void add(Bytes bytes);

 private:
  Bytes total_;
  const std::atomic<bool>* stop_;
  const std::function<void(const std::string&)>& log_;
  Bytes done_ = 0.0;
};

}  // namespace infinipipe

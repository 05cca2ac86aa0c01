// Random input in float32 or bfloat16 with the float64 numbers that it stands for, and comparison.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/random.h"
#include "model/common/fused/memory.h"
#include "model/common/fused/work.h"

namespace infinipipe::fused {

constexpr Type kTypes[] = {Type::kFloat32, Type::kBfloat16};
// Relative error of one rounding to the type, with room for a few float32 operations.
inline double bound(Type type) { return type == Type::kFloat32 ? 2e-6 : 5e-3; }

// Elements of a type at an address `offset` elements past a multiple of 16, between guards of NaN
// that must stay as they are. New numbers are NaN: what a kernel should write is poisoned.
class Array {
 public:
  Array(Type type, std::int64_t count, int offset = 0)
      : type_(type),
        count_(count),
        begin_(pack_of(type) + offset),
        storage_(static_cast<std::size_t>(
            (begin_ + count + 2 * pack_of(type)) * size_of(type) / 16 + 1)) {
    std::memset(static_cast<void*>(storage_.data()), 0xff, storage_.size() * sizeof(storage_[0]));
  }
  ~Array() {
    for (std::int64_t i = 0; i < begin_; ++i) EXPECT_TRUE(std::isnan(at(i - begin_))) << i;
    for (std::int64_t i = 0; i < pack_of(type_); ++i) EXPECT_TRUE(std::isnan(at(count_ + i))) << i;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  Array& fill(Random& random, double scale = 1.0) {
    for (std::int64_t i = 0; i < count_; ++i) set(i, scale * random.normal());
    return *this;
  }
  Array& fill(const std::vector<double>& values) {
    for (std::int64_t i = 0; i < count_; ++i) set(i, values[static_cast<std::size_t>(i)]);
    return *this;
  }
  void set(std::int64_t i, double value) {
    if (type_ == Type::kFloat32) {
      data<float>()[i] = static_cast<float>(value);
    } else {
      narrow(data<Bfloat16>()[i], static_cast<float>(value));
    }
  }
  std::vector<double> values() const {
    std::vector<double> result(static_cast<std::size_t>(count_));
    for (std::int64_t i = 0; i < count_; ++i) result[static_cast<std::size_t>(i)] = at(i);
    return result;
  }
  template <class T = void>
  T* data() const {
    return reinterpret_cast<T*>(const_cast<char*>(reinterpret_cast<const char*>(storage_.data())) +
                                begin_ * size_of(type_));
  }

 private:
  struct alignas(16) Unit {
    unsigned char bytes[16];
  };
  double at(std::int64_t i) const {
    return type_ == Type::kFloat32 ? static_cast<double>(data<float>()[i])
                                   : static_cast<double>(widen(data<Bfloat16>()[i]));
  }

  Type type_;
  std::int64_t count_;
  std::int64_t begin_;
  std::vector<Unit> storage_;
};

// Largest difference, relative to the largest of the expected numbers. NaN where either has one.
inline double relative_error(const std::vector<double>& found,
                             const std::vector<double>& expected) {
  double worst = 0.0, most = 1e-30;
  if (found.size() != expected.size()) return std::numeric_limits<double>::quiet_NaN();
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(found[i] - expected[i]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
    most = std::max(most, std::abs(expected[i]));
  }
  return worst / most;
}

}  // namespace infinipipe::fused

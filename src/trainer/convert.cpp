#include "trainer/convert.h"

#include "infinipipe/base/error.h"

namespace infinipipe {

void ConversionProgress::add(Bytes bytes) {
  if (stop_ != nullptr && stop_->load()) throw Stopped("command line");
  constexpr Bytes kEvery = 1e9;
  const bool due = static_cast<std::int64_t>((done_ + bytes) / kEvery) !=
                   static_cast<std::int64_t>(done_ / kEvery);
  done_ += bytes;
  if (due) log_(format_bytes(done_) + " of " + format_bytes(total_));
}

}  // namespace infinipipe

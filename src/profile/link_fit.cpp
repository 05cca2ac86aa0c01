#include "profile/link_fit.h"

#include <algorithm>

#include "base/statistics.h"

namespace infinipipe {
namespace {

constexpr double kNoBytes = 1e12;  // bytes per second: none of a message's time is by the byte

using Messages = std::vector<MessageLatency>;

// The medians of a part of the messages, each of its own order.
MessageLatency medians(Messages::const_iterator begin, Messages::const_iterator end) {
  std::vector<Bytes> bytes;
  std::vector<Seconds> seconds;
  for (auto message = begin; message != end; ++message) {
    bytes.push_back(message->bytes);
    seconds.push_back(message->seconds);
  }
  return {median(bytes), median(seconds)};
}

}  // namespace

LinkSpeed fit_link(Messages messages, bool copied) {
  if (messages.empty()) return {0.0, kNoBytes};
  const MessageLatency all = medians(messages.begin(), messages.end());
  if (!copied || messages.size() < 4) return {all.seconds, kNoBytes};
  std::sort(messages.begin(), messages.end(),
            [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  const auto half = messages.begin() + std::ssize(messages) / 2;
  const MessageLatency small = medians(messages.begin(), half);
  const MessageLatency large = medians(half, messages.end());
  if (large.bytes < 2.0 * small.bytes || large.seconds <= small.seconds)
    return {all.seconds, kNoBytes};
  const double per_byte = (large.seconds - small.seconds) / (large.bytes - small.bytes);
  return {std::max(0.0, small.seconds - per_byte * small.bytes), 1.0 / per_byte};
}

}  // namespace infinipipe

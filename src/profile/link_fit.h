// What messages between neighbouring stages took, as two figures of a profile.
#pragma once

#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

// From the end of the instruction that made the message to the begin of the one that waited for it.
struct MessageLatency {
  Bytes bytes = 0.0;
  Seconds seconds = 0.0;
};

struct LinkSpeed {
  Seconds seconds = 0.0;
  double bytes_per_second = 0.0;
};

// What threads hand over takes as long whatever its size: no time goes by the byte. Messages
// between processes are copied (`copied`): seconds and bytes per second are those of the line
// through the medians of the smaller and of the larger half. Where the larger ones are not slower,
// or not larger, it is as with threads. Without a message both ways give 0 seconds.
LinkSpeed fit_link(std::vector<MessageLatency> messages, bool copied);

}  // namespace infinipipe

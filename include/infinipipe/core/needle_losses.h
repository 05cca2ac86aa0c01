// How well a model finds one sentence in a long text: the passkey test, by likelihood.
#pragma once

#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

// Mean loss in nats of the tokens of a number that the text names once, where it is asked for at
// its end; over all trials.
struct NeedleLosses {
  std::vector<Tokens> lengths;            // of the texts, ascending
  std::vector<double> depths;             // where the sentence stands: 0 at the begin, 1 at the end
  std::vector<std::vector<double>> loss;  // by length, then depth
  std::vector<double> without;            // by length: of texts that never name the number
};

}  // namespace infinipipe

// Loss by position in the document: what tells whether a model uses a longer context.
#pragma once

#include "infinipipe/base/units.h"

namespace infinipipe {

// Mean loss, natural log, of the predictions that are made at positions [begin, end) of their
// documents, by the tokens that they follow.
struct PositionLoss {
  Tokens begin = 0;
  Tokens end = 0;
  double targets = 0.0;
  double loss = 0.0;
};

}  // namespace infinipipe

#include "core/parallel_choice.h"

namespace infinipipe {

const ParallelOption* ParallelChoice::nearest() const {
  const ParallelOption* least = nullptr;
  for (const ParallelOption& option : options) {
    if (option.missing <= 0.0) continue;
    if (least == nullptr || option.missing < least->missing) least = &option;
  }
  return least;
}

}  // namespace infinipipe

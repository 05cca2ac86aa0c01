// What every reader of JSON holds to.
#pragma once

namespace infinipipe {

// Objects and arrays in one another. Readers may recurse.
inline constexpr int kMaxJsonDepth = 64;

}  // namespace infinipipe

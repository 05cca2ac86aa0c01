// Fast non-cryptographic content hash (XXH3-128). Owner of the xxHash dependency.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "infinipipe/base/steady_file.h"

namespace infinipipe {

// 32 lower-case hex digits.
std::string hash_hex(const void* data, std::size_t bytes);
inline std::string hash_hex(std::string_view text) { return hash_hex(text.data(), text.size()); }

// The same, fed piece by piece.
class StreamHash final {
 public:
  StreamHash();
  ~StreamHash();
  StreamHash(const StreamHash&) = delete;
  StreamHash& operator=(const StreamHash&) = delete;

  void update(const void* data, std::size_t bytes);
  // A range of a file, read piece by piece. Throws what SteadyFile::read() throws.
  void update(const SteadyFile& file, std::uint64_t begin, std::uint64_t bytes);
  std::string hex() const;

 private:
  void* state_;
};

// hash_hex() of the whole file.
std::string hash_file(const SteadyFile& file);

}  // namespace infinipipe

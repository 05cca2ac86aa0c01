#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <new>
#include <span>
#include <vector>

namespace infinipipe {
namespace {

std::string to_hex(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : canonical.digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace

std::string hash_hex(const void* data, std::size_t bytes) {
  return to_hex(XXH3_128bits(data, bytes));
}

StreamHash::StreamHash() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_));
}

StreamHash::~StreamHash() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void StreamHash::update(const void* data, std::size_t bytes) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), data, bytes);
}

void StreamHash::update(const SteadyFile& file, std::uint64_t begin, std::uint64_t bytes) {
  std::vector<std::byte> piece(std::min<std::uint64_t>(bytes, 1 << 20));
  while (bytes > 0) {
    const auto part = std::span(piece).first(std::min<std::uint64_t>(piece.size(), bytes));
    file.read(begin, part);
    update(part.data(), part.size());
    begin += part.size();
    bytes -= part.size();
  }
}

std::string StreamHash::hex() const {
  return to_hex(XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_)));
}

std::string hash_file(const SteadyFile& file) {
  StreamHash hash;
  hash.update(file, 0, file.size());
  return hash.hex();
}

}  // namespace infinipipe

#include <bit>
#include <cstring>

#include "infinipipe/base/error.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the formats are little-endian and are copied as they are");

template <class Stored>
void append_as(TokenDtype dtype, std::span<const std::int64_t> ids, std::vector<std::byte>& bytes) {
  const std::size_t before = bytes.size();
  bytes.resize(before + ids.size() * sizeof(Stored));
  std::byte* to = bytes.data() + before;
  for (const std::int64_t id : ids) {
    const auto stored = static_cast<Stored>(id);
    if (static_cast<std::int64_t>(stored) != id) {
      bytes.resize(before);
      throw InputError("token ids", "found " + std::to_string(id),
                       "expected one that fits " + std::string(token_dtype_name(dtype)));
    }
    std::memcpy(to, &stored, sizeof(Stored));
    to += sizeof(Stored);
  }
}

}  // namespace

std::size_t token_width(TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
    case TokenDtype::kInt8:
      return 1;
    case TokenDtype::kInt16:
    case TokenDtype::kUint16:
      return 2;
    case TokenDtype::kInt32:
      return 4;
    case TokenDtype::kInt64:
      return 8;
  }
  INFINIPIPE_ASSERT(false, "unknown token dtype");
}

std::string_view token_dtype_name(TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return "uint8";
    case TokenDtype::kInt8:
      return "int8";
    case TokenDtype::kInt16:
      return "int16";
    case TokenDtype::kInt32:
      return "int32";
    case TokenDtype::kInt64:
      return "int64";
    case TokenDtype::kUint16:
      return "uint16";
  }
  INFINIPIPE_ASSERT(false, "unknown token dtype");
}

TokenDtype token_dtype_for(std::int64_t vocab_size) {
  return vocab_size < 65500 ? TokenDtype::kUint16 : TokenDtype::kInt32;
}

void append_encoded(TokenDtype dtype, std::span<const std::int64_t> ids,
                    std::vector<std::byte>& bytes) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return append_as<std::uint8_t>(dtype, ids, bytes);
    case TokenDtype::kInt8:
      return append_as<std::int8_t>(dtype, ids, bytes);
    case TokenDtype::kInt16:
      return append_as<std::int16_t>(dtype, ids, bytes);
    case TokenDtype::kInt32:
      return append_as<std::int32_t>(dtype, ids, bytes);
    case TokenDtype::kInt64:
      return append_as<std::int64_t>(dtype, ids, bytes);
    case TokenDtype::kUint16:
      return append_as<std::uint16_t>(dtype, ids, bytes);
  }
}

}  // namespace infinipipe

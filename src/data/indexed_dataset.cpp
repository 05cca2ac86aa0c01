#include "infinipipe/data/indexed_dataset.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "data/index_format.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::string_view kRebuild = "rebuild the dataset";

// Arrays in the index start at odd offsets.
template <class T>
T load(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

std::string number(std::int64_t value) { return std::to_string(value); }

template <class Stored>
void widen(const std::byte* from, std::vector<std::int64_t>& to) {
  for (std::int64_t& id : to) {
    Stored value;
    std::memcpy(&value, from, sizeof(Stored));
    id = value;
    from += sizeof(Stored);
  }
}

}  // namespace

IndexedDataset::IndexedDataset(const std::string& prefix)
    : prefix_(prefix), index_(prefix + ".idx"), data_(prefix + ".bin") {
  read_header();
  check_sequences();
  check_documents();
}

void IndexedDataset::read_header() {
  const std::span<const std::byte> bytes = index_.bytes();
  const auto fail = [&](const std::string& found, std::string_view expected) {
    throw InputError(index_.path(), found, expected, kRebuild);
  };
  if (bytes.size() < kIndexHeaderBytes) {
    fail("has " + std::to_string(bytes.size()) + " bytes",
         "expected a header of " + std::to_string(kIndexHeaderBytes));
  }
  if (std::memcmp(bytes.data(), kIndexMagic.data(), kIndexMagic.size()) != 0) {
    fail("does not start with MMIDIDX", "expected a Megatron dataset index");
  }
  const auto version = load<std::uint64_t>(bytes, kIndexVersionAt);
  if (version != kIndexVersion) fail("version is " + std::to_string(version), "expected 1");

  const auto code = load<std::uint8_t>(bytes, kIndexDtypeAt);
  if (code == 6 || code == 7) {
    fail("dtype code is " + std::to_string(code) + ", floating point", "expected whole numbers");
  }
  if (code < 1 || code > 8) fail("dtype code is " + std::to_string(code), "expected 1 to 8");
  dtype_ = static_cast<TokenDtype>(code);

  // A count that passes is at most size / 12, so that no product below overflows.
  const auto sequences = load<std::uint64_t>(bytes, kIndexSequencesAt);
  const auto entries = load<std::uint64_t>(bytes, kIndexEntriesAt);
  const std::uint64_t space = bytes.size() - kIndexHeaderBytes;
  if (sequences > space / 12 || entries > space / 8 || 12 * sequences + 8 * entries > space) {
    fail("has " + std::to_string(bytes.size()) + " bytes",
         "expected more for " + std::to_string(sequences) + " sequences and " +
             std::to_string(entries) + " document entries; it is cut short or damaged");
  }
  if (entries == 0) fail("document index is empty", "expected at least its first entry");
  const std::uint64_t rest = space - 12 * sequences - 8 * entries;
  if (rest != 0 && rest != sequences) {  // multimodal files end in a mode per sequence
    fail("has " + std::to_string(rest) + " bytes too many",
         "expected an end after " + std::to_string(sequences) + " sequences and " +
             std::to_string(entries) + " document entries");
  }
  sequences_ = static_cast<std::int64_t>(sequences);
  documents_ = static_cast<std::int64_t>(entries) - 1;
  tokens_ = static_cast<std::int64_t>(data_.bytes().size() / token_width(dtype_));
}

void IndexedDataset::check_sequences() const {
  const auto width = static_cast<std::int64_t>(token_width(dtype_));
  const auto size = static_cast<std::int64_t>(data_.bytes().size());
  const auto fail = [&](std::int64_t sequence, const std::string& found,
                        const std::string& expected) {
    throw InputError(index_.path(), "sequence " + number(sequence) + ": " + found, expected,
                     kRebuild);
  };
  std::int64_t end = 0;  // of the sequence before; at most `size`
  for (std::int64_t i = 0; i < sequences_; ++i) {
    const std::int32_t length = sequence_length(i);
    const std::int64_t offset = sequence_offset(i);
    if (length < 0) fail(i, "length is " + number(length), "expected 0 or more");
    if (offset < 0 || offset > size) {
      fail(i, "offset is " + number(offset),
           "expected one within the " + number(size) + " bytes of " + data_.path());
    }
    if (offset % width != 0) {
      fail(i, "offset is " + number(offset), "expected a multiple of " + number(width));
    }
    if (offset != end) {
      fail(i, "offset is " + number(offset),
           "expected " + number(end) + ", where the sequence before ends");
    }
    if (length > (size - offset) / width) {
      fail(i, "ends at byte " + number(offset) + " + " + number(length) + " x " + number(width),
           "expected at most the " + number(size) + " bytes of " + data_.path() +
               "; it is cut short");
    }
    end = offset + length * width;
  }
  if (end != size) {
    throw InputError(data_.path(), "has " + number(size) + " bytes",
                     "expected " + number(end) + ", as its index says", kRebuild);
  }
}

void IndexedDataset::check_documents() const {
  const auto fail = [&](std::int64_t entry, std::int64_t found, const std::string& expected) {
    throw InputError(index_.path(),
                     "document index entry " + number(entry) + " is " + number(found), expected,
                     kRebuild);
  };
  std::int64_t before = 0;
  for (std::int64_t i = 0; i <= documents_; ++i) {
    const std::int64_t first = document_start(i);
    if (i == 0 && first != 0) fail(i, first, "expected 0");
    if (first < before) fail(i, first, "expected at least " + number(before));
    if (first > sequences_) fail(i, first, "expected at most " + number(sequences_));
    before = first;
  }
  if (before != sequences_) {
    fail(documents_, before, "expected the number of sequences, " + number(sequences_));
  }
}

std::int32_t IndexedDataset::sequence_length(std::int64_t sequence) const {
  return load<std::int32_t>(index_.bytes(),
                            kIndexHeaderBytes + 4 * static_cast<std::size_t>(sequence));
}

std::int64_t IndexedDataset::sequence_offset(std::int64_t sequence) const {
  if (sequence == sequences_) return static_cast<std::int64_t>(data_.bytes().size());
  const std::size_t array = kIndexHeaderBytes + 4 * static_cast<std::size_t>(sequences_);
  return load<std::int64_t>(index_.bytes(), array + 8 * static_cast<std::size_t>(sequence));
}

std::int64_t IndexedDataset::document_start(std::int64_t entry) const {
  const std::size_t array = kIndexHeaderBytes + 12 * static_cast<std::size_t>(sequences_);
  return load<std::int64_t>(index_.bytes(), array + 8 * static_cast<std::size_t>(entry));
}

Tokens IndexedDataset::length(std::int64_t document) const {
  INFINIPIPE_ASSERT(document >= 0 && document < documents_, "document number");
  const std::int64_t bytes =
      sequence_offset(document_start(document + 1)) - sequence_offset(document_start(document));
  return bytes / static_cast<std::int64_t>(token_width(dtype_));
}

std::vector<Tokens> IndexedDataset::lengths() const {
  std::vector<Tokens> result(static_cast<std::size_t>(documents_));
  for (std::int64_t i = 0; i < documents_; ++i) result[static_cast<std::size_t>(i)] = length(i);
  return result;
}

std::vector<std::int64_t> IndexedDataset::read(std::int64_t document, Tokens begin,
                                               Tokens count) const {
  const Tokens all = length(document);
  INFINIPIPE_ASSERT(begin >= 0 && count >= 0, "token range");
  if (begin >= all) return {};
  std::vector<std::int64_t> ids(static_cast<std::size_t>(std::min(count, all - begin)));
  const std::byte* from = data_.bytes().data() + sequence_offset(document_start(document)) +
                          begin * static_cast<std::int64_t>(token_width(dtype_));
  switch (dtype_) {
    case TokenDtype::kUint8:
      widen<std::uint8_t>(from, ids);
      break;
    case TokenDtype::kInt8:
      widen<std::int8_t>(from, ids);
      break;
    case TokenDtype::kInt16:
      widen<std::int16_t>(from, ids);
      break;
    case TokenDtype::kInt32:
      widen<std::int32_t>(from, ids);
      break;
    case TokenDtype::kInt64:
      widen<std::int64_t>(from, ids);
      break;
    case TokenDtype::kUint16:
      widen<std::uint16_t>(from, ids);
      break;
  }
  return ids;
}

}  // namespace infinipipe

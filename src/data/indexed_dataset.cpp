#include "infinipipe/data/indexed_dataset.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "base/hash.h"
#include "data/index_format.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::string_view kRebuild = "rebuild the dataset";

// Where the index's arrays of offsets and documents begin.
std::size_t offsets_at(std::int64_t sequences) {
  return kIndexHeaderBytes + 4 * static_cast<std::size_t>(sequences);
}
std::size_t documents_at(std::int64_t sequences) {
  return kIndexHeaderBytes + 12 * static_cast<std::size_t>(sequences);
}

template <class T>
T load(const SteadyFile& file, std::size_t offset) {
  T value;
  file.read(offset, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

// Reads an array of the index in order, in large blocks.
template <class T>
class ArrayReader final {
 public:
  ArrayReader(const SteadyFile& file, std::size_t offset, std::int64_t count)
      : file_(file), offset_(offset), left_(count) {}

  T next() {
    if (at_ == block_.size()) {
      INFINIPIPE_ASSERT(left_ > 0, "no value is left");
      block_.resize(static_cast<std::size_t>(std::min<std::int64_t>(left_, kBlock)));
      file_.read(offset_, std::as_writable_bytes(std::span(block_)));
      offset_ += block_.size() * sizeof(T);
      left_ -= static_cast<std::int64_t>(block_.size());
      at_ = 0;
    }
    return block_[at_++];
  }

 private:
  static constexpr std::int64_t kBlock = 1 << 15;

  const SteadyFile& file_;
  std::size_t offset_;
  std::int64_t left_;
  std::size_t at_ = 0;
  std::vector<T> block_;
};

// A file's name is a likely slip where a prefix is meant.
const std::string& checked_prefix(const std::string& prefix) {
  const bool is_file = prefix.ends_with(".bin") || prefix.ends_with(".idx");
  if (is_file && ::access((prefix + ".idx").c_str(), F_OK) != 0) {
    throw InputError(prefix, "is the name of a file",
                     "expected the prefix of PREFIX.bin and PREFIX.idx",
                     "leave out " + prefix.substr(prefix.size() - 4));
  }
  return prefix;
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
    : prefix_(checked_prefix(prefix)), index_(prefix + ".idx"), data_(prefix + ".bin") {
  read_header();
  check_sequences();
  check_documents();
  open_weights();
}

void IndexedDataset::open_weights() {
  const std::string path = prefix_ + ".weights";
  if (::access(path.c_str(), F_OK) != 0) return;
  const SteadyFile& file = weights_.emplace(path);
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw InputError(file.path(), found, expected, kRebuild);
  };
  const std::uint64_t size = kWeightsHeaderBytes + static_cast<std::uint64_t>(tokens_);
  if (file.size() < kWeightsHeaderBytes ||
      load<std::array<char, kWeightsMagic.size()>>(file, 0) != kWeightsMagic) {
    fail("does not start with IPWEIGHT", "expected loss weights");
  }
  const auto version = load<std::uint64_t>(file, kWeightsVersionAt);
  if (version != kWeightsVersion) fail("version is " + std::to_string(version), "expected 1");
  const auto tokens = load<std::uint64_t>(file, kWeightsTokensAt);
  if (tokens != static_cast<std::uint64_t>(tokens_)) {
    fail("is of " + std::to_string(tokens) + " tokens",
         "expected the " + std::to_string(tokens_) + " of " + data_.path());
  }
  if (file.size() != size) {
    fail("has " + std::to_string(file.size()) + " bytes", "expected " + std::to_string(size));
  }
  const auto hash = load<std::array<char, 32>>(file, kWeightsIndexAt);
  if (std::string_view(hash.data(), hash.size()) != hash_file(index_)) {
    fail("is of another index than " + index_.path(), "expected its own");
  }
}

void IndexedDataset::read_header() {
  const auto fail = [&](const std::string& found, std::string_view expected) {
    throw InputError(index_.path(), found, expected, kRebuild);
  };
  if (index_.size() < kIndexHeaderBytes) {
    fail("has " + std::to_string(index_.size()) + " bytes",
         "expected a header of " + std::to_string(kIndexHeaderBytes));
  }
  if (load<std::array<char, kIndexMagic.size()>>(index_, 0) != kIndexMagic) {
    fail("does not start with MMIDIDX", "expected a Megatron dataset index");
  }
  const auto version = load<std::uint64_t>(index_, kIndexVersionAt);
  if (version != kIndexVersion) fail("version is " + std::to_string(version), "expected 1");

  // A count that passes is at most size / 12, so that no product below overflows.
  const auto sequences = load<std::uint64_t>(index_, kIndexSequencesAt);
  const auto entries = load<std::uint64_t>(index_, kIndexEntriesAt);
  const std::uint64_t space = index_.size() - kIndexHeaderBytes;
  if (sequences > space / 12 || entries > space / 8 || 12 * sequences + 8 * entries > space) {
    fail("has " + std::to_string(index_.size()) + " bytes",
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
  dtype_ = dtype_of(load<std::uint8_t>(index_, kIndexDtypeAt));
  tokens_ = static_cast<std::int64_t>(data_.size() / token_width(dtype_));
}

TokenDtype IndexedDataset::dtype_of(std::uint8_t code) const {
  const auto fail = [&](const std::string& found, std::string_view expected) {
    throw InputError(index_.path(), "dtype code is " + std::to_string(code) + found, expected,
                     kRebuild);
  };
  if (code < 1 || code > 8) fail("", "expected 1 to 8");
  if (code < 6) return static_cast<TokenDtype>(code);
  std::uint64_t tokens = 0;
  ArrayReader<std::int32_t> lengths(index_, kIndexHeaderBytes, sequences_);
  for (std::int64_t i = 0; i < sequences_; ++i) {
    tokens += static_cast<std::uint64_t>(std::max(0, lengths.next()));
  }
  const auto has_width = [&](std::uint64_t width) {
    return tokens > 0 && data_.size() / width == tokens && data_.size() % width == 0;
  };
  if (code == 6) {
    if (has_width(token_width(TokenDtype::kUint16))) return TokenDtype::kUint16;
    fail(", floating point", "expected whole numbers");
  }
  if (code == 7) {
    fail(", 32-bit floats to Megatron and uint32 to DeepSpeed, which have the same size",
         "expected whole numbers that no reader takes for others");
  }
  return has_width(token_width(TokenDtype::kInt64)) ? TokenDtype::kInt64 : TokenDtype::kUint16;
}

void IndexedDataset::check_sequences() const {
  const auto width = static_cast<std::int64_t>(token_width(dtype_));
  const auto size = static_cast<std::int64_t>(data_.size());
  const auto fail = [&](std::int64_t sequence, const std::string& found,
                        const std::string& expected) {
    throw InputError(index_.path(), "sequence " + number(sequence) + ": " + found, expected,
                     kRebuild);
  };
  ArrayReader<std::int32_t> lengths(index_, kIndexHeaderBytes, sequences_);
  ArrayReader<std::int64_t> offsets(index_, offsets_at(sequences_), sequences_);
  std::int64_t end = 0;  // of the sequence before; at most `size`
  for (std::int64_t i = 0; i < sequences_; ++i) {
    const std::int32_t length = lengths.next();
    const std::int64_t offset = offsets.next();
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
  ArrayReader<std::int64_t> starts(index_, documents_at(sequences_), documents_ + 1);
  std::int64_t before = 0;
  for (std::int64_t i = 0; i <= documents_; ++i) {
    const std::int64_t first = starts.next();
    if (i == 0 && first != 0) fail(i, first, "expected 0");
    if (first < before) fail(i, first, "expected at least " + number(before));
    if (first > sequences_) fail(i, first, "expected at most " + number(sequences_));
    before = first;
  }
  if (before != sequences_) {
    fail(documents_, before, "expected the number of sequences, " + number(sequences_));
  }
}

std::int64_t IndexedDataset::sequence_offset(std::int64_t sequence) const {
  if (sequence == sequences_) return static_cast<std::int64_t>(data_.size());
  return load<std::int64_t>(index_,
                            offsets_at(sequences_) + 8 * static_cast<std::size_t>(sequence));
}

IndexedDataset::ByteRange IndexedDataset::document_bytes(std::int64_t document) const {
  INFINIPIPE_ASSERT(document >= 0 && document < documents_, "document number");
  const auto [first, end] = load<std::array<std::int64_t, 2>>(
      index_, documents_at(sequences_) + 8 * static_cast<std::size_t>(document));
  return {sequence_offset(first), sequence_offset(end)};
}

Tokens IndexedDataset::length(std::int64_t document) const {
  const ByteRange bytes = document_bytes(document);
  return (bytes.end - bytes.begin) / static_cast<std::int64_t>(token_width(dtype_));
}

std::vector<Tokens> IndexedDataset::lengths() const {
  std::vector<Tokens> result(static_cast<std::size_t>(documents_));
  ArrayReader<std::int64_t> starts(index_, documents_at(sequences_), documents_ + 1);
  ArrayReader<std::int32_t> sequences(index_, kIndexHeaderBytes, sequences_);
  std::int64_t sequence = starts.next();
  for (Tokens& length : result) {
    for (const std::int64_t end = starts.next(); sequence < end; ++sequence) {
      length += sequences.next();
    }
  }
  return result;
}

IndexedDataset::TokenRange IndexedDataset::token_range(std::int64_t document, Tokens begin,
                                                       Tokens count) const {
  const ByteRange bytes = document_bytes(document);
  const std::int64_t width = static_cast<std::int64_t>(token_width(dtype_));
  const Tokens all = (bytes.end - bytes.begin) / width;
  INFINIPIPE_ASSERT(begin >= 0 && count >= 0, "token range");
  begin = std::min(begin, all);
  return {bytes.begin / width + begin, std::min(count, all - begin)};
}

std::vector<float> IndexedDataset::weights(std::int64_t document, Tokens begin,
                                           Tokens count) const {
  if (!weights_) return {};
  const TokenRange range = token_range(document, begin, count);
  std::vector<std::uint8_t> stored(static_cast<std::size_t>(range.count));
  weights_->read(kWeightsHeaderBytes + static_cast<std::uint64_t>(range.first),
                 std::as_writable_bytes(std::span(stored)));
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if (stored[i] <= 1) continue;
    throw InputError(weights_->path(),
                     "token " + number(range.first + static_cast<Tokens>(i)) + " has weight " +
                         number(stored[i]),
                     "expected 0 or 1", kRebuild);
  }
  return {stored.begin(), stored.end()};
}

std::vector<std::int64_t> IndexedDataset::read(std::int64_t document, Tokens begin,
                                               Tokens count) const {
  const TokenRange range = token_range(document, begin, count);
  std::vector<std::int64_t> ids(static_cast<std::size_t>(range.count));
  std::vector<std::byte> stored(ids.size() * token_width(dtype_));
  data_.read(static_cast<std::uint64_t>(range.first) * token_width(dtype_), stored);
  const std::byte* from = stored.data();
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

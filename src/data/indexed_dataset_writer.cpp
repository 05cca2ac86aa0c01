#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/name_lock.h"
#include "data/index_format.h"
#include "data/output_file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/steady_file.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {
namespace {

constexpr std::uint64_t kSpoolPiece = 1 << 18;  // lengths that are in memory at a time

}  // namespace

// A document's sequences after its first one are rare (over 2^31 tokens), so that they are kept in
// memory; the lengths of sequences are spooled to disk.
struct IndexedDatasetWriter::State {
  State(std::string name, TokenDtype type, Tokens longest)
      : prefix(std::move(name)),
        dtype(type),
        width(static_cast<std::int64_t>(token_width(type))),
        max_sequence(longest),
        lock(std::in_place, behind_links(prefix + ".bin")),
        data(prefix + ".bin"),
        index_path(behind_links(prefix + ".idx")),
        lengths(std::in_place, prefix + ".lengths") {}

  std::string prefix;
  TokenDtype dtype;
  std::int64_t width;
  Tokens max_sequence;
  std::optional<NameLock> lock;  // until both files are in place or gone
  OutputFile data;
  std::string index_path;
  std::optional<OutputFile> lengths;  // i32 each; never gets its name
  std::vector<std::byte> encoded;
  std::int64_t documents = 0;
  std::int64_t sequences = 0;
  Tokens tokens = 0;                                         // of ended documents
  Tokens document_tokens = 0;                                // of the one that is written
  std::vector<std::pair<std::int64_t, std::int64_t>> extra;  // document, sequences beyond one
  bool finished = false;
};

IndexedDatasetWriter::IndexedDatasetWriter(std::string prefix, TokenDtype dtype,
                                           Tokens max_sequence) {
  INFINIPIPE_ASSERT(max_sequence >= 1 && max_sequence <= std::numeric_limits<std::int32_t>::max(),
                    "a sequence's length is an i32");
  state_ = std::make_unique<State>(std::move(prefix), dtype, max_sequence);
}

IndexedDatasetWriter::~IndexedDatasetWriter() = default;

TokenDtype IndexedDatasetWriter::dtype() const { return state_->dtype; }
Tokens IndexedDatasetWriter::document_tokens() const { return state_->document_tokens; }
std::int64_t IndexedDatasetWriter::documents() const { return state_->documents; }
Tokens IndexedDatasetWriter::tokens() const { return state_->tokens; }

void IndexedDatasetWriter::append(std::span<const std::int64_t> ids) {
  State& state = *state_;
  state.encoded.clear();
  append_encoded(state.dtype, ids, state.encoded);
  append_bytes(state.encoded);
}

void IndexedDatasetWriter::append_bytes(std::span<const std::byte> encoded) {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "append after finish");
  const auto size = static_cast<std::int64_t>(encoded.size());
  INFINIPIPE_ASSERT(size % state.width == 0, "half a token");
  state.data.append(encoded);
  state.document_tokens += size / state.width;
}

void IndexedDatasetWriter::end_document() {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "end_document after finish");
  Tokens left = state.document_tokens;
  std::int64_t sequences = 0;
  do {
    const auto length = static_cast<std::int32_t>(std::min(left, state.max_sequence));
    state.lengths->append(&length, sizeof(length));
    left -= length;
    ++sequences;
  } while (left > 0);
  if (sequences > 1) state.extra.emplace_back(state.documents, sequences - 1);
  state.sequences += sequences;
  state.tokens += std::exchange(state.document_tokens, 0);
  ++state.documents;
}

void IndexedDatasetWriter::finish() {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "finish twice");
  INFINIPIPE_ASSERT(state.document_tokens == 0, "finish within a document");
  state.finished = true;
  state.data.close();
  state.lengths->flush();

  OutputFile index(state.index_path);
  const auto put = [&](const auto& value) { index.append(&value, sizeof(value)); };
  put(kIndexMagic);
  put(kIndexVersion);
  put(static_cast<std::uint8_t>(state.dtype));
  put(static_cast<std::uint64_t>(state.sequences));
  put(static_cast<std::uint64_t>(state.documents) + 1);
  {
    const SteadyFile spool(state.lengths->temporary_path());
    std::vector<std::int32_t> lengths(kSpoolPiece);
    const auto each_piece = [&](const auto& use) {
      for (std::uint64_t at = 0; at < spool.size(); at += kSpoolPiece * sizeof(std::int32_t)) {
        lengths.resize(std::min(kSpoolPiece, (spool.size() - at) / sizeof(std::int32_t)));
        spool.read(at, std::as_writable_bytes(std::span(lengths)));
        use();
      }
    };
    each_piece([&] { index.append(std::as_bytes(std::span(lengths))); });
    std::int64_t offset = 0;
    each_piece([&] {
      for (const std::int32_t length : lengths) {
        put(offset);
        offset += length * state.width;
      }
    });
  }
  std::int64_t sequence = 0;
  auto extra = state.extra.begin();
  for (std::int64_t document = 0; document < state.documents; ++document) {
    put(sequence);
    ++sequence;
    if (extra != state.extra.end() && extra->first == document) sequence += (extra++)->second;
  }
  put(sequence);
  index.close();
  state.lengths.reset();

  // An older index must not be seen with the new tokens.
  if (::unlink(index.path().c_str()) != 0 && errno != ENOENT) {
    throw RunError(index.path(),
                   std::string("the older file cannot be removed: ") + std::strerror(errno));
  }
  sync_path(folder_of(index.path()));
  state.data.commit();
  index.commit();
  state.lock.reset();
}

}  // namespace infinipipe

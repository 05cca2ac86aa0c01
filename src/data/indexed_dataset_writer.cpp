#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "base/name_lock.h"
#include "data/index_format.h"
#include "data/output_file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/steady_file.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {
namespace {

constexpr std::uint64_t kSpoolPiece = 1 << 18;  // lengths that are in memory at a time
constexpr std::uint64_t kWeightsPiece = 1 << 16;

// So that an older file is not taken for what belongs to the new tokens.
void remove_older(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    throw RunError(path, std::string("the older file cannot be removed: ") + std::strerror(errno));
  }
}

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
        lengths(std::in_place, prefix + ".lengths"),
        runs(std::in_place, prefix + ".runs"),
        weights(std::in_place, prefix + ".weights") {}

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

  // Tokens that follow each other and have one weight. Full runs are spooled to disk.
  struct Run {
    std::uint64_t tokens = 0;
    std::uint64_t weight = 1;
  };
  Run run;
  std::optional<OutputFile> runs;     // never gets its name
  std::optional<OutputFile> weights;  // gets its name where some token has no loss
  Tokens counted = 0;                 // of the document that is written, predicted and with loss
  Tokens loss_tokens = 0;             // of ended documents
  std::int64_t without_loss = 0;      // documents
  bool has_weights = false;           // some token has no loss

  void weigh(Tokens count, bool loss) {
    if (count == 0) return;
    has_weights = has_weights || !loss;
    const std::uint64_t weight = loss ? 1 : 0;
    if (weight != run.weight) {
      runs->append(&run, sizeof(run));
      run = {0, weight};
    }
    run.tokens += static_cast<std::uint64_t>(count);
    if (loss) counted += document_tokens == 0 ? count - 1 : count;
  }
  void write_weights(const OutputFile& index);
};

// Those of an index that is whole; no file where all are 1.
void IndexedDatasetWriter::State::write_weights(const OutputFile& index) {
  if (!has_weights) {
    runs.reset();
    weights.reset();
    return;
  }
  runs->append(&run, sizeof(run));
  runs->flush();
  const auto put = [&](const auto& value) { weights->append(&value, sizeof(value)); };
  put(kWeightsMagic);
  put(kWeightsVersion);
  put(static_cast<std::uint64_t>(tokens));
  const std::string hash = hash_file(SteadyFile(index.temporary_path()));
  weights->append(hash.data(), hash.size());
  const SteadyFile spool(runs->temporary_path());
  for (std::uint64_t at = 0; at < spool.size(); at += sizeof(Run)) {
    Run next;
    spool.read(at, std::as_writable_bytes(std::span(&next, 1)));
    const std::vector<std::byte> piece(std::min(next.tokens, kWeightsPiece),
                                       static_cast<std::byte>(next.weight));
    for (std::uint64_t left = next.tokens; left > 0; left -= std::min(left, kWeightsPiece)) {
      weights->append(std::span(piece).first(std::min(left, kWeightsPiece)));
    }
  }
  runs.reset();
  weights->close();
}

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

std::int64_t IndexedDatasetWriter::documents_without_loss() const { return state_->without_loss; }

Tokens IndexedDatasetWriter::loss_tokens() const { return state_->loss_tokens; }
bool IndexedDatasetWriter::has_weights() const { return state_->has_weights; }

void IndexedDatasetWriter::append(std::span<const std::int64_t> ids, bool loss) {
  State& state = *state_;
  state.encoded.clear();
  append_encoded(state.dtype, ids, state.encoded);
  append_bytes(state.encoded, loss);
}

void IndexedDatasetWriter::append_bytes(std::span<const std::byte> encoded, bool loss) {
  State& state = *state_;
  INFINIPIPE_ASSERT(!state.finished, "append after finish");
  const auto size = static_cast<std::int64_t>(encoded.size());
  INFINIPIPE_ASSERT(size % state.width == 0, "half a token");
  state.data.append(encoded);
  state.weigh(size / state.width, loss);
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
  if (state.counted == 0 && state.document_tokens > 1) ++state.without_loss;
  state.loss_tokens += std::exchange(state.counted, 0);
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

  state.write_weights(index);

  remove_older(index.path());
  if (!state.weights) remove_older(behind_links(state.prefix + ".weights"));
  sync_path(folder_of(index.path()));
  if (state.weights) state.weights->commit();
  state.data.commit();
  index.commit();
  state.lock.reset();
}

}  // namespace infinipipe

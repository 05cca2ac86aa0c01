#include "data/build.h"

#include <algorithm>
#include <array>
#include <optional>
#include <thread>

#include "base/file.h"
#include "data/encode_piece.h"
#include "data/ordered_encoder.h"
#include "data/output_file.h"
#include "data/text_source.h"
#include "data/tokenizer.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::size_t kMostExamples = 10;
// Of text that is encoded at the same time by tokenizers that need a multiple of it in memory.
constexpr std::size_t kEncodedAtOnce = std::size_t{16} << 20;

void check(const BuildOptions& options) {
  if (options.inputs.empty() ||
      std::any_of(options.inputs.begin(), options.inputs.end(),
                  [](const std::string& input) { return input.empty(); })) {
    throw InputError("data build: input", "is not given");
  }
  if (options.output.empty() || options.output.ends_with('/')) {
    throw InputError("data build: out", "found \"" + options.output + "\"",
                     "expected the prefix of a .bin and a .idx file");
  }
  if (options.hold_out_every < 0 || options.hold_out_every == 1) {
    throw InputError("data build: hold-out", "found " + std::to_string(options.hold_out_every),
                     "expected 2 or more: of so many documents the last is held out");
  }
  if (options.threads < 0) {
    throw InputError("data build: threads", "found " + std::to_string(options.threads),
                     "expected 0 (all cores) or more");
  }
  if (options.piece_bytes < 1 || options.queue_bytes < 1 || options.max_line_bytes < 1 ||
      options.max_text_bytes < 1) {
    throw InputError("data build", "a limit is too small", "expected at least 1");
  }
}

// Writes parts and counts documents.
class DocumentWriter final {
 public:
  DocumentWriter(const BuildOptions& options, TokenDtype dtype, std::int64_t end_of_document,
                 BuildResult& result)
      : writer_(options.output, dtype),
        hold_out_every_(options.hold_out_every),
        end_(end_of_document),
        result_(result) {
    if (hold_out_every_ > 0) held_out_.emplace(options.output + kHeldOut, dtype);
  }

  void write(const EncodedPiece& piece) {
    std::span<const std::byte> bytes = piece.bytes;
    for (const EncodedPiece::Part& part : piece.parts) {
      const std::size_t size = static_cast<std::size_t>(part.tokens) * token_width(writer_.dtype());
      current().append_bytes(bytes.first(size), part.loss);
      bytes = bytes.subspan(size);
      invalid_bytes_ += part.invalid_bytes;
      if (part.ends_document) end_document(part);
    }
    result_.joined_boundaries += piece.joined_boundaries;
    for (const std::string& problem : piece.problems) {
      ++result_.bad_lines;
      if (result_.bad_examples.size() < kMostExamples) result_.bad_examples.push_back(problem);
    }
  }

  void finish() {
    result_.has_weights = writer_.has_weights();
    result_.loss_tokens = writer_.loss_tokens();
    result_.documents_without_loss = writer_.documents_without_loss();
    if (held_out_) held_out_->finish();  // first: whoever waits for the one has both
    writer_.finish();
  }

 private:
  // Where the document that is being written goes.
  IndexedDatasetWriter& current() {
    if (!held_out_) return writer_;
    const std::int64_t before = result_.documents + result_.held_out_documents;
    return (before + 1) % hold_out_every_ == 0 ? *held_out_ : writer_;
  }

  void end_document(const EncodedPiece::Part& part) {
    if (invalid_bytes_ > 0) ++result_.invalid_utf8_documents;
    result_.invalid_utf8_bytes += invalid_bytes_;
    invalid_bytes_ = 0;
    IndexedDatasetWriter& writer = current();
    if (writer.document_tokens() == 0) {
      ++result_.empty_documents;
      return;
    }
    if (part.adds_end) writer.append(std::array{end_}, part.loss);
    result_.longest = std::max(result_.longest, writer.document_tokens());
    writer.end_document();
    result_.documents = writer_.documents();
    result_.tokens = writer_.tokens();
    if (!held_out_) return;
    result_.held_out_documents = held_out_->documents();
    result_.held_out_tokens = held_out_->tokens();
  }

  IndexedDatasetWriter writer_;
  std::optional<IndexedDatasetWriter> held_out_;
  std::int64_t hold_out_every_;
  std::int64_t end_;
  BuildResult& result_;
  std::int64_t invalid_bytes_ = 0;  // of the document that is being written
};

}  // namespace

std::string progress_line(const BuildProgress& progress) {
  std::string line = format_bytes(static_cast<Bytes>(progress.bytes)) + " read";
  if (progress.total_bytes > 0) {
    const double share =
        static_cast<double>(progress.bytes) / static_cast<double>(progress.total_bytes);
    line = std::to_string(std::min(99, static_cast<int>(100.0 * share))) + "% of " +
           format_bytes(static_cast<Bytes>(progress.total_bytes));
  }
  return line + ", " + format_bytes(static_cast<Bytes>(progress.text_bytes)) + " of text, " +
         format_count(progress.documents) + " documents";
}

BuildResult build_dataset(const BuildOptions& options) {
  check(options);
  const auto tokenizer = make_tokenizer(options.tokenizer, options.tokenizer_options);
  TextSource source(options, tokenizer->needs_utf8());
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));

  BuildResult result;
  result.files = source.files();
  result.skipped_entries = source.counts().odd;
  result.hidden_entries = source.counts().hidden;
  result.repeated_folders = source.counts().repeated;
  result.other_files = source.unfit_files();
  result.dtype = token_dtype_for(tokenizer->vocab_size());
  EncodeBudget budget(kEncodedAtOnce);
  const EncodeSettings settings{tokenizer.get(),     result.dtype,           options.text_field,
                                options.on_bad_line, options.max_text_bytes, &budget};
  make_folder(folder_of(options.output));
  std::int64_t text_bytes = 0;
  DocumentWriter writer(options, result.dtype, tokenizer->end_of_document(), result);
  {
    OrderedEncoder encoder(source, settings, options.threads > 0 ? options.threads : cores,
                           options.queue_bytes);
    while (const auto piece = encoder.take()) {
      writer.write(*piece);
      result.bytes += piece->input_bytes;
      text_bytes += piece->text_bytes;
      options.progress({result.documents + result.held_out_documents, result.bytes,
                        source.total_bytes(), text_bytes});
    }
  }
  if (result.documents == 0) {
    const std::string bad =
        result.bad_lines == 0
            ? ""
            : ", " + std::to_string(result.bad_lines) +
                  " bad lines were left out, the first: " + result.bad_examples.front();
    throw InputError(
        options.inputs.front(),
        "none of its " + std::to_string(result.empty_documents) + " documents has any text" + bad,
        "expected at least one");
  }
  if (options.hold_out_every > 0 && result.held_out_documents == 0) {
    throw InputError(
        "data build: hold-out", "found " + std::to_string(result.documents) + " documents",
        "expected at least " + std::to_string(options.hold_out_every), "hold out one of fewer");
  }
  writer.finish();
  return result;
}

}  // namespace infinipipe

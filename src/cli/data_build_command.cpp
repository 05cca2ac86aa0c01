#include <limits>

#include "cli/command.h"
#include "data/build.h"

namespace infinipipe::cli {
namespace {

struct Options {
  BuildOptions build;
  std::size_t format = 0;
  std::size_t on_bad_line = 0;
  std::int64_t threads = 0;
};

std::string result_text(const BuildOptions& build, const BuildResult& result) {
  std::string text = build.output + ".bin, " + build.output + ".idx" +
                     (result.has_weights ? ", " + build.output + ".weights" : "") + ": " +
                     format_count(result.documents) + " documents, " + format_count(result.tokens) +
                     " tokens (" + std::string(token_dtype_name(result.dtype)) + "), the longest " +
                     format_count(result.longest) + ", from " + format_count(result.files) +
                     " files of " + format_bytes(static_cast<Bytes>(result.bytes)) + "\n";
  if (result.held_out_documents > 0) {
    text += "  " + build.output + kHeldOut +
            ".bin, .idx: " + format_count(result.held_out_documents) + " documents more, " +
            format_count(result.held_out_tokens) + " tokens, held out\n";
  }
  const auto remark = [&](std::int64_t count, const std::string& what) {
    if (count > 0) text += "  " + format_count(count) + " " + what + "\n";
  };
  remark(result.empty_documents, "empty documents were left out");
  if (result.has_weights) {
    text += "  " + format_count(result.loss_tokens) + " tokens have loss\n";
  }
  remark(result.documents_without_loss, "documents have no token with loss");
  remark(result.joined_boundaries,
         "prompts do not end where a token of prompt and completion ends: loss begins at the token "
         "with the number that the prompt alone would have");
  remark(result.invalid_utf8_documents, "documents were not UTF-8 (" +
                                            format_count(result.invalid_utf8_bytes) +
                                            " bytes were replaced by U+FFFD)");
  remark(result.bad_lines, "bad lines were left out, of which");
  for (const std::string& example : result.bad_examples) text += "    " + example + "\n";
  remark(result.skipped_entries, "entries were neither files nor folders");
  remark(result.hidden_entries, "entries whose names start with a dot were left out");
  remark(result.other_files, "files fit no pattern");
  remark(result.repeated_folders, "links lead to folders that are read under another name");
  return text;
}

void run(Options& options, Console& console) {
  BuildOptions& build = options.build;
  build.format = static_cast<InputFormat>(options.format);
  build.on_bad_line = static_cast<OnBadLine>(options.on_bad_line);
  build.threads = static_cast<int>(options.threads);
  build.progress = [&console](const BuildProgress& progress) {
    console.progress(progress_line(progress));
  };
  const BuildResult result = build_dataset(build);
  console.end_progress();
  if (!console.quiet()) console.result(result_text(build, result));
}

}  // namespace

Command data_build_command() {
  return {
      "data build", "Data", "text or JSON lines to tokens in the indexed format",
      [](Flags& flags) -> Run {
        auto options = std::make_shared<Options>();
        BuildOptions& build = options->build;
        flags
            .texts("--input", "PATH", build.inputs,
                   "a folder or a file of text or JSON, plain or in gzip or Zstandard, or of "
                   "Parquet; may be "
                   "given again")
            .reads()
            .required = true;
        flags.text("--out", "PREFIX", build.output, "PREFIX.bin and PREFIX.idx are written")
            .writes({".bin", ".idx", ".weights"})
            .required = true;
        flags.integer("--hold-out", "N", build.hold_out_every, 2,
                      "of every N documents the last goes into PREFIX-held-out instead, to judge "
                      "training by (default: none)");
        flags.texts("--pattern", "GLOB", build.patterns,
                    "files to take: *.go fits names, a/*.go paths below the folder; may be "
                    "given again");
        flags
            .text("--tokenizer", "NAME", build.tokenizer,
                  "byte, or the path of a tokenizer.json, of a SentencePiece model, or of a folder "
                  "with one (default byte)")
            .reads();
        flags.toggle("--special-in-text", build.tokenizer_options.special_in_text,
                     "what looks like a special token in a text is one (of a tokenizer.json); else "
                     "it is text");
        flags.choice("--format", {"auto", "text", "jsonl"}, options->format,
                     "a file is a document, or a line is; auto: *.jsonl, *.ndjson and *.json hold "
                     "JSON, *.parquet rows, other files text (default auto)");
        flags.choice("--on-bad-line", {"stop", "skip"}, options->on_bad_line,
                     "a line without a document ends the build, or is left out and counted "
                     "(default stop)");
        flags.text(
            "--field", "NAME", build.text_field,
            "field of the JSON, or column, that holds the text or a list of messages; a.b is b of "
            "the object a (default text, else messages, else prompt and completion)");
        flags.integer("--threads", "N", options->threads, 0, "0: one per core (default 0)", 1024);
        return [options](Console& console) { run(*options, console); };
      }};
}

}  // namespace infinipipe::cli

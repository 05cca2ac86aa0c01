#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "data/corpus.h"
#include "data/lengths.h"
#include "data/stats.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string prefix;
  bool lengths = false;
  std::int64_t cap = 0;  // 0: not asked about
  std::string json;
};

// What each data.long_documents does.
std::string format_longer(const LongDocumentCount& longer, Tokens cap) {
  return "\nover " + format_count(cap) + " tokens: " + format_count(longer.documents) +
         " documents, " + format_count(longer.tokens) + " tokens\n  " +
         to_string(LongDocuments::kCut) + "    leaves out " + format_count(longer.behind_the_cut) +
         " tokens\n  " + to_string(LongDocuments::kSplit) + "  makes " +
         format_count(longer.parts) + " sequences of them\n  " + to_string(LongDocuments::kDrop) +
         "   leaves out all of them\n";
}

Json longer_json(const LongDocumentCount& longer, Tokens cap) {
  return {{"cap", cap},
          {"documents", longer.documents},
          {"tokens", longer.tokens},
          {"behind_the_cut", longer.behind_the_cut},
          {"parts", longer.parts}};
}

void run(const Options& options, const Console& console) {
  std::vector<Tokens> lengths;
  LengthStats stats;
  if (options.lengths) {
    lengths = read_lengths(options.prefix);
    stats = length_stats(lengths);
  } else {
    const IndexedDataset dataset(options.prefix);
    if (options.cap > 0) lengths = dataset.lengths();
    stats = dataset_stats(dataset);
  }
  Json json = stats_json(stats);
  std::string text = format_stats(stats);
  if (options.cap > 0) {
    LongDocumentCount longer;
    for (const Tokens length : lengths) longer.add(length, options.cap);
    json["longer"] = longer_json(longer, options.cap);
    text += format_longer(longer, options.cap);
  }
  if (!options.json.empty()) write_output(console, options.json, json.dump(1) + "\n");
  if (options.json != "-") console.result(text);
}

}  // namespace

Command data_stats_command() {
  return {"data stats", "Data", "how long documents are, and where the tokens and the work lie",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags.argument("PREFIX", options->prefix, "indexed data set: PREFIX.bin, PREFIX.idx")
                .reads({"", ".bin", ".idx", ".weights"});
            flags.toggle("--lengths", options->lengths,
                         "PREFIX is a file of lengths, a whole number a line");
            flags.integer("--cap", "TOKENS", options->cap, 1,
                          "also what data.long_documents does to longer ones");
            flags
                .text("--json", "FILE", options->json, "the same as JSON; - is the standard output")
                .writes();
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli

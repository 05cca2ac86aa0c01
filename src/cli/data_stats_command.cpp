#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "data/lengths.h"
#include "data/stats.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::string prefix;
  bool lengths = false;
  std::string json;
};

void run(const Options& options, const Console& console) {
  const LengthStats stats = options.lengths ? length_stats(read_lengths(options.prefix))
                                            : dataset_stats(IndexedDataset(options.prefix));
  if (!options.json.empty()) {
    write_output(console, options.json, stats_json(stats).dump(1) + "\n");
  }
  if (options.json != "-") console.result(format_stats(stats));
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
            flags
                .text("--json", "FILE", options->json, "the same as JSON; - is the standard output")
                .writes();
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli

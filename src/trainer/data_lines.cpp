#include "trainer/data_lines.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace infinipipe {
namespace {

std::string set_line(const BatchSource& batches, std::size_t index) {
  const std::vector<Corpus::Set>& sets = batches.corpus().sets();
  const IndexedDataset& dataset = *sets[index].dataset;
  std::string line = "data    " + dataset.prefix() + ": " + format_count(dataset.documents()) +
                     " documents, " + format_count(dataset.tokens()) + " tokens";
  if (sets.size() > 1) {
    std::array<char, 16> share{};
    std::snprintf(share.data(), share.size(), "%.4g%%", 100.0 * batches.share(index));
    line += std::string(", ") + share.data() + " of what is drawn";
  }
  const double steps = std::ceil(batches.steps_per_epoch(index));
  return line + "; " + (batches.tokens_per_step() > 0 ? "about " : "") +
         format_count(static_cast<std::int64_t>(steps)) + (steps == 1.0 ? " step" : " steps") +
         " an epoch";
}

std::string long_documents_line(const Corpus& corpus) {
  const LongDocumentCount longer = corpus.longer();
  if (longer.documents == 0) return {};
  const std::string start = "data    " + format_count(longer.documents) + " documents of over " +
                            format_count(corpus.max_sequence_length()) + " tokens are ";
  const std::string end =
      std::string(" (data.long_documents = ") + to_string(corpus.long_documents()) + ")";
  switch (corpus.long_documents()) {
    case LongDocuments::kCut:
      return start + "cut off: " + format_count(longer.behind_the_cut) +
             " tokens are not trained on" + end;
    case LongDocuments::kSplit:
      return start + "split into " + format_count(longer.parts) + " sequences" + end;
    case LongDocuments::kDrop:
      break;
  }
  return start + "dropped: " + format_count(longer.tokens) + " tokens are not trained on" + end;
}

}  // namespace

std::vector<std::string> data_lines(const BatchSource& batches) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < batches.corpus().sets().size(); ++i) {
    lines.push_back(set_line(batches, i));
  }
  if (std::string line = long_documents_line(batches.corpus()); !line.empty()) {
    lines.push_back(std::move(line));
  }
  if (batches.tokens_per_step() > 0) {
    lines.push_back("batches of whole sequences, up to " + format_count(batches.tokens_per_step()) +
                    " tokens (training.tokens_per_step; sequences_per_step does not count)");
  }
  return lines;
}

std::int64_t dropped_documents(const Corpus& corpus) {
  return corpus.long_documents() == LongDocuments::kDrop ? corpus.longer().documents : 0;
}

}  // namespace infinipipe

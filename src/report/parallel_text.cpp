#include "report/parallel_text.h"

#include <algorithm>
#include <cstdio>

#include "report/text_table.h"

namespace infinipipe {
namespace {

// "9+9+8+6"; of more than 8 stages "1 to 3 each".
std::string layers(const std::vector<LayerRange>& stages) {
  int least = stages.front().count();
  int most = least;
  std::string all;
  for (const LayerRange& range : stages) {
    least = std::min(least, range.count());
    most = std::max(most, range.count());
    all += (all.empty() ? "" : "+") + std::to_string(range.count());
  }
  if (stages.size() <= 8) return all;
  return least == most ? std::to_string(least) + " each"
                       : std::to_string(least) + " to " + std::to_string(most) + " each";
}

// The fault alone: what to do about it does not help here.
std::string fault(const std::string& note) {
  std::string text =
      note.substr(0, std::min({note.find(" ("), note.find(';'), note.find(", expected")}));
  if (text.starts_with("plan: ")) text = text.substr(6);
  return text;
}

}  // namespace

std::string parallel_text(const ParallelChoice& choice) {
  std::string text = "devices: " + format_count(choice.devices);
  if (choice.bytes_per_device > 0.0) text += " of " + format_bytes(choice.bytes_per_device);
  text += "; sample: " + std::to_string(choice.batches) +
          (choice.batches == 1 ? " step, " : " steps, ") + format_count(choice.tokens) +
          " tokens\n";
  if (choice.found()) {
    const Parallelism& best = choice.options.front().parallelism;
    text += "chosen: " + std::to_string(best.stages) + (best.stages == 1 ? " stage" : " stages") +
            " x sequence parallel " + std::to_string(best.sequence_parallel) + " x data parallel " +
            std::to_string(best.data_parallel) + ", layers " +
            layers(choice.options.front().stages) + "\n";
  } else {
    text += "chosen: none, no layout is possible\n";
  }
  TextTable table({"PP x SP x DP", "layers", "step", "at least", "tokens/s", "bubble", "recompute",
                   "outside", "peak", "note"});
  std::string others;
  bool feasible = false;
  for (const ParallelOption& option : choice.options) {
    if (!option.feasible) {
      others += "  " + to_string(option.parallelism) + ": " + fault(option.note) + "\n";
      continue;
    }
    feasible = true;
    const Seconds outside = option.gathers + option.reduction + option.heads;
    table.add({to_string(option.parallelism), layers(option.stages), format_seconds(option.seconds),
               format_seconds(option.lower_bound),
               format_count(static_cast<std::int64_t>(option.tokens_per_second)),
               percent(option.bubble),
               percent(option.seconds > 0.0 ? option.recompute / option.seconds : 0.0),
               outside > 0.0 ? format_seconds(outside) : "-", format_bytes(option.peak_bytes),
               option.note});
  }
  if (feasible) text += "\n" + table.str();
  if (!others.empty()) text += "\nnot possible:\n" + others;
  return text;
}

}  // namespace infinipipe

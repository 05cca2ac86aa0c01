#include "infinipipe/report/plan_text.h"

#include <algorithm>
#include <array>
#include <map>

#include "report/text_table.h"

namespace infinipipe {
namespace {

std::string counted(std::int64_t count, const char* noun) {
  return format_count(count) + " " + noun + (count == 1 ? "" : "s");
}

struct Counts {
  std::array<std::int64_t, 3> kinds{};  // by ChunkKind
  std::int64_t chunks = 0;
  std::int64_t pipelines = 0;
  std::int64_t packed_sequences = 0;  // whole sequences that share a chunk
  Plan::Recomputed recomputed;
  std::int64_t layer_runs = 0;          // layers x chunks
  std::map<int, std::int64_t> degrees;  // chunks in sub-groups, by degree
  Tokens in_sub_groups = 0;             // tokens of these
  Tokens smallest = 0;                  // tokens of a chunk
  Tokens largest = 0;
  std::map<int, std::vector<Tokens>> slices;  // tokens of each slice, by cut sequence
};

Counts count(const Plan& plan) {
  Counts counts;
  counts.recomputed = plan.recomputed();
  const std::vector<bool> cut = plan.cut_sequences();
  for (const Replica& replica : plan.replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      ++counts.pipelines;
      for (const Chunk& chunk : pipeline.chunks) {
        ++counts.kinds[static_cast<std::size_t>(chunk.kind)];
        const Tokens tokens = chunk.tokens();
        counts.smallest = counts.chunks == 0 ? tokens : std::min(counts.smallest, tokens);
        counts.largest = std::max(counts.largest, tokens);
        ++counts.chunks;
        counts.layer_runs += plan.layer_count();
        if (chunk.degree > 0) {
          ++counts.degrees[chunk.degree];
          counts.in_sub_groups += tokens;
        }
        for (const Slice& slice : chunk.slices) {
          if (cut[slice.sequence.index()]) {
            counts.slices[slice.sequence.value()].push_back(slice.tokens());
          } else if (chunk.slices.size() > 1) {
            ++counts.packed_sequences;
          }
        }
      }
    }
  }
  return counts;
}

std::string kinds_text(const Counts& counts) {
  const auto of = [&](ChunkKind kind) { return counts.kinds[static_cast<std::size_t>(kind)]; };
  return format_count(of(ChunkKind::kSplit)) + " split, " + format_count(of(ChunkKind::kHybrid)) +
         " hybrid, " + format_count(of(ChunkKind::kBatched)) + " batched";
}

// "sub-groups: 7 chunks of degree 1, 6 of degree 2, with 55.4% of all tokens".
std::string sub_groups_text(const Plan& plan, const Counts& counts) {
  if (counts.degrees.empty()) return {};
  std::string text;
  for (const auto& [degree, chunks] : counts.degrees) {
    text +=
        (text.empty() ? "sub-groups: " + counted(chunks, "chunk") : ", " + format_count(chunks)) +
        " of degree " + std::to_string(degree);
  }
  const double share =
      static_cast<double>(counts.in_sub_groups) / static_cast<double>(plan.total_tokens());
  return text + ", with " + percent(share) + " of all tokens\n";
}

std::string prediction_text(const Prediction& prediction) {
  std::string text = format_seconds(prediction.seconds);
  if (prediction.lower_bound > 0.0) {
    text += " (at least " + format_seconds(prediction.lower_bound) + ")";
  }
  text += ", bubble " + percent(prediction.bubble);
  if (prediction.step_overhead > 0.0) {
    text += ", and " + format_seconds(prediction.step_overhead) + " outside instructions";
  }
  return text;
}

std::string batch_text(const Plan& plan) {
  const Tokens longest =
      plan.sequences.empty() ? 0 : *std::max_element(plan.sequences.begin(), plan.sequences.end());
  return "batch: step " + std::to_string(plan.step) + ", " +
         counted(static_cast<std::int64_t>(plan.sequences.size()), "sequence") + ", " +
         counted(plan.total_tokens(), "token") + ", the longest " + format_count(longest) + "\n";
}

std::string layout_text(const Plan& plan) {
  std::string layers;
  for (const LayerRange& range : plan.stages) {
    layers += (layers.empty() ? "" : " + ") + std::to_string(range.count());
  }
  const Parallelism& p = plan.parallelism;
  return "layout: " + counted(p.stages, "stage") + " x sequence parallel " +
         std::to_string(p.sequence_parallel) + " x data parallel " +
         std::to_string(p.data_parallel) + ", layers " + layers + "\n";
}

std::string planner_text(const Plan& plan) {
  const PlannerReport& planner = plan.planner;
  std::string text = "planner: " + planner.name + " in " + format_seconds(planner.seconds) +
                     ", K " + std::to_string(planner.slices) + ", schedule " + planner.schedule;
  if (planner.solver.status != "none") {
    text += ", integer programme " + planner.solver.status + " in " +
            format_seconds(planner.solver.seconds) + " (gap " + percent(planner.solver.gap) + ")";
  }
  return text + "\n";
}

std::string cut_text(const Plan& plan, const Counts& counts) {
  if (counts.slices.empty()) return "cut: no sequence\n";
  std::int64_t slices = 0;
  for (const auto& [sequence, tokens] : counts.slices) {
    slices += static_cast<std::int64_t>(tokens.size());
  }
  std::string text =
      "cut: " + counted(static_cast<std::int64_t>(counts.slices.size()), "sequence") + " into " +
      counted(slices, "slice") + "\n";
  constexpr std::size_t kShown = 8;
  std::vector<int> order;
  for (const auto& [sequence, tokens] : counts.slices) order.push_back(sequence);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return plan.sequences[static_cast<std::size_t>(a)] >
           plan.sequences[static_cast<std::size_t>(b)];
  });
  for (std::size_t i = 0; i < std::min(order.size(), kShown); ++i) {
    text += "  sequence " + std::to_string(order[i]) + " of " +
            format_count(plan.sequences[static_cast<std::size_t>(order[i])]) + ":";
    for (const Tokens tokens : counts.slices.at(order[i])) text += " " + format_count(tokens);
    text += "\n";
  }
  if (order.size() > kShown) {
    text += "  and " + std::to_string(order.size() - kShown) + " shorter ones\n";
  }
  return text;
}

std::string stages_text(const Plan& plan) {
  if (!plan.predicted) return {};
  TextTable table({"stage", "layers", "compute", "recompute", "wait", "peak", ""});
  for (std::size_t p = 0; p < plan.predicted->stages.size() && p < plan.stages.size(); ++p) {
    const StagePrediction& stage = plan.predicted->stages[p];
    table.add({std::to_string(p), std::to_string(plan.stages[p].count()),
               format_seconds(stage.compute), format_seconds(stage.recompute),
               format_seconds(stage.wait), format_bytes(stage.peak_bytes),
               plan.bytes_per_stage > 0.0
                   ? percent(stage.peak_bytes / plan.bytes_per_stage) + " of the memory"
                   : ""});
  }
  return "\n" + table.str();
}

std::string candidates_text(const PlannerReport& planner) {
  if (planner.candidates.empty()) return {};
  TextTable table({"schedule", "K", "chunk tokens", "pipelines", "chunks", "step", "note"});
  for (const Candidate& candidate : planner.candidates) {
    table.add({candidate.schedule, std::to_string(candidate.slices),
               format_count(candidate.chunk_tokens), std::to_string(candidate.pipelines),
               std::to_string(candidate.chunks),
               candidate.seconds > 0.0 ? format_seconds(candidate.seconds) : "-", candidate.note});
  }
  return "\ncandidates, the chosen one first:\n" + table.str();
}

std::string passes_text(const PlannerReport& planner) {
  if (planner.passes.empty()) return {};
  TextTable table({"pass", "took", "shortened the step by"});
  for (const PassReport& pass : planner.passes) {
    table.add({pass.name, format_seconds(pass.seconds),
               pass.gain > 0.0 ? format_seconds(pass.gain) : "-"});
  }
  return "\npasses of the planner, in order:\n" + table.str();
}

}  // namespace

std::string plan_line(const Plan& plan) {
  const Counts counts = count(plan);
  std::string line = counted(static_cast<std::int64_t>(plan.sequences.size()), "sequence") +
                     " in " + counted(counts.chunks, "chunk") + " (" + kinds_text(counts) + "), " +
                     counted(counts.pipelines, "pipeline") + ", K " +
                     std::to_string(plan.planner.slices);
  if (plan.predicted) line += ", " + prediction_text(*plan.predicted);
  return line;
}

std::string explain_plan(const Plan& plan) {
  const Counts counts = count(plan);
  std::string text = batch_text(plan) + layout_text(plan) + planner_text(plan);
  text += cut_text(plan, counts);
  text += "packed: " + counted(counts.packed_sequences, "whole sequence") + " share chunks\n";
  text += "chunks: " + format_count(counts.chunks) + " in " +
          counted(counts.pipelines, "pipeline") + ": " + kinds_text(counts) + "; " +
          format_count(counts.smallest) + " to " + format_count(counts.largest) + " tokens each\n";
  text += sub_groups_text(plan, counts);
  if (counts.chunks > 0 && plan.planner.chunk_spread > 0.0) {
    text +=
        "chunk times: the slowest " + percent(plan.planner.chunk_spread) + " above the mean" +
        (plan.planner.spread_cause.empty() ? "" : "; shorter are " + plan.planner.spread_cause) +
        "\n";
  }
  const double runs = static_cast<double>(std::max<std::int64_t>(counts.layer_runs, 1));
  const Plan::Recomputed& recomputed = counts.recomputed;
  text += "recomputed: " + percent(static_cast<double>(recomputed.layers) / runs) +
          " of all layers' forwards (" + format_count(recomputed.layers) + " of " +
          format_count(counts.layer_runs) + ")";
  if (recomputed.layers == 0) text += ": everything fits";
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (recomputed.by_level[i] == 0 || *kKeepLevels[i].remade_part == '\0') continue;
    text += ", " + format_count(recomputed.by_level[i]) + " of them " + kKeepLevels[i].remade_part;
  }
  text += "\n";
  if (plan.predicted) text += "predicted: " + prediction_text(*plan.predicted) + "\n";
  return text + stages_text(plan) + candidates_text(plan.planner) + passes_text(plan.planner);
}

}  // namespace infinipipe

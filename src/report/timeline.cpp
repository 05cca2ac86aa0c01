#include "infinipipe/report/timeline.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "infinipipe/base/json.h"
#include "report/timeline_page.h"

namespace infinipipe {
namespace {

// Appends JSON text piece by piece: a large step has a hundred thousand events.
class Writer final {
 public:
  Writer& raw(std::string_view text) {
    text_ += text;
    return *this;
  }
  // By default enough digits to see a microsecond in a long step.
  Writer& number(double value, int digits = 9) {
    std::array<char, 40> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::general, digits);
    text_.append(buffer.data(), end.ptr);
    return *this;
  }
  Writer& integer(std::int64_t value) {
    text_ += std::to_string(value);
    return *this;
  }
  // Safe inside a script element whatever the text is.
  Writer& string(const std::string& value) {
    for (const char c : Json(value).dump(-1, ' ', true, Json::error_handler_t::replace)) {
      if (c == '<') {
        text_ += "\\u003c";
      } else {
        text_ += c;
      }
    }
    return *this;
  }
  Writer& comma() {
    text_ += ',';
    return *this;
  }
  template <class List, class Each>
  Writer& list(const List& values, const Each& each) {
    text_ += '[';
    bool first = true;
    for (const auto& value : values) {
      if (!first) text_ += ',';
      first = false;
      each(value);
    }
    text_ += ']';
    return *this;
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

// Flat chunk numbers, as the page's events name them.
class ChunkNumbers final {
 public:
  explicit ChunkNumbers(const Plan& plan) {
    for (const Replica& replica : plan.replicas) {
      auto& first = first_.emplace_back();
      std::int64_t count = 0;
      for (const Pipeline& pipeline : replica.pipelines) {
        first.push_back(count);
        count += static_cast<std::int64_t>(pipeline.chunks.size());
      }
      first.push_back(count);
    }
  }
  // -1 for an instruction that the plan does not have.
  std::int64_t of(ReplicaId replica, const Instruction& i) const {
    if (replica.index() >= first_.size()) return -1;
    const auto& first = first_[replica.index()];
    const std::size_t q = i.pipeline.index();
    if (q + 1 >= first.size() || i.chunk.value() < 0) return -1;
    const std::int64_t chunk = first[q] + i.chunk.value();
    return chunk < first[q + 1] ? chunk : -1;
  }

 private:
  std::vector<std::vector<std::int64_t>> first_;
};

void write_chunks(Writer& out, const Plan& plan, const Replica& replica,
                  const std::vector<bool>& cut) {
  out.raw("{\"chunks\":[");
  bool first = true;
  for (std::size_t q = 0; q < replica.pipelines.size(); ++q) {
    for (std::size_t c = 0; c < replica.pipelines[q].chunks.size(); ++c) {
      const Chunk& chunk = replica.pipelines[q].chunks[c];
      const SequenceId sequence = chunk.slices.empty() ? SequenceId() : chunk.slices[0].sequence;
      const bool is_cut = !chunk.slices.empty() && cut[sequence.index()];
      if (!first) out.comma();
      first = false;
      out.raw("[").integer(static_cast<std::int64_t>(q)).comma();
      out.integer(static_cast<std::int64_t>(c)).comma();
      out.integer(static_cast<int>(chunk.kind)).comma().integer(chunk.tokens()).comma();
      out.integer(chunk.slices.empty() ? 0 : chunk.context()).comma();
      out.integer(static_cast<std::int64_t>(chunk.slices.size())).comma();
      out.integer(is_cut ? sequence.value() : -1).comma();
      out.integer(is_cut ? plan.sequences[sequence.index()] : 0).comma();
      out.list(chunk.keeping, [&](const Keeping& keeping) { out.integer(keeping.remade()); });
      out.comma().raw("[");
      for (std::size_t i = 0; i < kRemadeLevels; ++i) {  // as the page's `levels`
        if (i > 0) out.comma();
        out.list(chunk.keeping, [&](const Keeping& keeping) { out.integer(keeping.layers[i]); });
      }
      out.raw("],").integer(chunk.degree).raw("]");
    }
  }
  out.raw("]}");
}

struct StageRecords {
  std::vector<const TraceEvent*> events;
  std::vector<const MemorySample*> memory;
  std::vector<const TransferEvent*> links;
};

void write_stage(Writer& out, ReplicaId replica, const StageRecords& stage,
                 const ChunkNumbers& numbers) {
  out.raw("{\"events\":");
  out.list(stage.events, [&](const TraceEvent* e) {
    out.raw("[").integer(static_cast<int>(e->instruction.op)).comma();
    out.integer(numbers.of(replica, e->instruction)).comma();
    out.number(e->begin).comma().number(e->end - e->begin, 6).comma();
    out.number(e->recompute, 6).comma().number(std::max(0.0, e->begin - e->ready), 4).raw("]");
  });
  out.raw(",\"memory\":");
  out.list(stage.memory, [&](const MemorySample* m) {
    const auto bytes = [&](MemoryPurpose purpose) {
      return m->bytes[static_cast<std::size_t>(purpose)];
    };
    const Bytes states = bytes(MemoryPurpose::kWeights) + bytes(MemoryPurpose::kGradients) +
                         bytes(MemoryPurpose::kOptimizer);
    out.raw("[").number(m->at).comma().number(states, 6);
    for (const MemoryPurpose purpose :
         {MemoryPurpose::kActivations, MemoryPurpose::kKv, MemoryPurpose::kKvGrad,
          MemoryPurpose::kWorkspace, MemoryPurpose::kTransfers}) {
      out.comma().number(bytes(purpose), 6);
    }
    out.raw("]");
  });
  out.raw(",\"links\":");
  out.list(stage.links, [&](const TransferEvent* t) {
    out.raw("[").integer(t->to.value()).comma();
    out.integer(static_cast<int>(t->producer.op)).comma();
    out.integer(numbers.of(replica, t->producer)).comma();
    out.number(t->begin).comma().number(t->end - t->begin, 6).comma();
    out.number(t->bytes, 8).raw("]");
  });
  out.raw("}");
}

void write_trace(Writer& out, const Plan& plan, const Trace& trace, const std::string& name,
                 const ChunkNumbers& numbers) {
  std::vector<std::vector<StageRecords>> records(plan.replicas.size(),
                                                 std::vector<StageRecords>(plan.stages.size()));
  const auto records_of = [&](ReplicaId replica, StageId stage) -> StageRecords* {
    const bool known = replica.value() >= 0 && replica.index() < records.size() &&
                       stage.value() >= 0 && stage.index() < plan.stages.size();
    return known ? &records[replica.index()][stage.index()] : nullptr;
  };
  for (const TraceEvent& event : trace.events) {
    StageRecords* stage = records_of(event.replica, event.stage);
    if (stage != nullptr && numbers.of(event.replica, event.instruction) >= 0) {
      stage->events.push_back(&event);
    }
  }
  for (const MemorySample& sample : trace.memory) {
    if (StageRecords* stage = records_of(sample.replica, sample.stage))
      stage->memory.push_back(&sample);
  }
  for (const TransferEvent& transfer : trace.transfers) {
    StageRecords* stage = records_of(transfer.replica, transfer.from);
    if (stage != nullptr && numbers.of(transfer.replica, transfer.producer) >= 0) {
      stage->links.push_back(&transfer);
    }
  }
  out.raw("{\"name\":").string(name).raw(",\"seconds\":").number(trace.seconds);
  out.raw(",\"replicas\":[");
  for (std::size_t r = 0; r < records.size(); ++r) {
    if (r > 0) out.comma();
    out.raw("{\"stages\":");
    out.list(records[r],
             [&](const StageRecords& stage) { write_stage(out, ReplicaId(r), stage, numbers); });
    out.raw("}");
  }
  out.raw("]}");
}

std::string default_title(const Plan& plan) {
  return "Step " + std::to_string(plan.step) +
         (plan.planner.name.empty() ? "" : ", planned by " + plan.planner.name);
}

std::string subtitle(const Plan& plan) {
  const auto longest =
      plan.sequences.empty() ? 0 : *std::max_element(plan.sequences.begin(), plan.sequences.end());
  std::size_t pipelines = 0;
  for (const Replica& replica : plan.replicas) pipelines += replica.pipelines.size();
  std::string text = format_count(static_cast<std::int64_t>(plan.sequences.size())) +
                     " sequences, " + format_count(plan.total_tokens()) + " tokens, the longest " +
                     format_count(longest) + "; " + std::to_string(plan.layer_count()) +
                     " layers on " + std::to_string(plan.stage_count()) + " stages";
  const auto add_degree = [&](const char* name, int degree) {
    if (degree > 1) text += std::string(", ") + name + " " + std::to_string(degree);
  };
  add_degree("sequence parallel", plan.parallelism.sequence_parallel);
  add_degree("data parallel", static_cast<int>(plan.replicas.size()));
  text += "; " + std::to_string(pipelines) + (pipelines == 1 ? " pipeline, " : " pipelines, ") +
          plan.planner.schedule;
  return text;
}

}  // namespace

std::string html_timeline(const Plan& plan, const Trace& predicted, const Trace* measured,
                          const TimelineOptions& options) {
  const ChunkNumbers numbers(plan);
  const std::vector<bool> cut = plan.cut_sequences();
  Writer out;
  out.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
  out.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
  out.raw("<title>InfiniPipe step</title>\n<style>").raw(kTimelineStyle).raw("</style>\n");
  out.raw("</head>\n<body>").raw(kTimelineBody).raw("<script>\nconst DATA = {\"title\":");
  out.string(options.title.empty() ? default_title(plan) : options.title);
  out.raw(",\"subtitle\":").string(subtitle(plan));
  out.raw(",\"limit\":").number(options.limit > 0.0 ? options.limit : plan.bytes_per_stage);
  const Seconds planned_bound = plan.predicted ? plan.predicted->lower_bound : 0.0;
  out.raw(",\"bound\":").number(options.lower_bound > 0.0 ? options.lower_bound : planned_bound);
  out.raw(",\"tokens\":").integer(plan.total_tokens());
  out.raw(",\"layers\":").list(plan.stages, [&](const LayerRange& range) {
    out.raw("[").integer(range.begin).comma().integer(range.end).raw("]");
  });
  out.raw(",\"levels\":[");
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (i > 0) out.comma();
    out.string(kKeepLevels[i].remade_part);
  }
  out.raw("]");
  out.raw(",\n\"replicas\":").list(plan.replicas, [&](const Replica& replica) {
    write_chunks(out, plan, replica, cut);
  });
  out.raw(",\n\"traces\":[");
  write_trace(out, plan, predicted, "predicted", numbers);
  if (measured != nullptr) {
    out.raw(",\n");
    write_trace(out, plan, *measured, "measured", numbers);
  }
  out.raw("]};\n").raw(kTimelineScript).raw("</script>\n</body>\n</html>\n");
  return out.take();
}

void write_html_timeline(const std::string& path, const Plan& plan, const Trace& predicted,
                         const Trace* measured, const TimelineOptions& options) {
  write_file(path, html_timeline(plan, predicted, measured, options));
}

}  // namespace infinipipe

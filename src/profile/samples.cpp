#include "profile/samples.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/statistics.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

Keep level_of(const InstructionSample& sample) {
  return sample.keeping.remade() > 0 ? sample.keeping.of_layer(0) : Keep::kInput;
}

std::vector<InstructionSample> samples_of(const Plan& plan, const Trace& trace, int first_chunk,
                                          Tokens window) {
  INFINIPIPE_ASSERT(trace.memory.size() == 2 * trace.events.size(),
                    "a measured trace has two memory samples an instruction");
  const std::vector<bool> cut = plan.cut_sequences();
  const Replica& replica = plan.replicas.at(0);
  std::vector<int> first(replica.pipelines.size(), first_chunk);
  for (std::size_t i = 1; i < first.size(); ++i) {
    first[i] = first[i - 1] + static_cast<int>(replica.pipelines[i - 1].chunks.size());
  }
  std::vector<InstructionSample> samples;
  for (std::size_t i = 0; i < trace.events.size(); ++i) {
    const TraceEvent& event = trace.events[i];
    if (event.replica != ReplicaId(0)) continue;
    const Chunk& chunk = replica.chunk(event.instruction);
    InstructionSample sample;
    sample.chunk = first[event.instruction.pipeline.index()] +
                   static_cast<int>(event.instruction.chunk.index());
    sample.stage = event.stage;
    sample.op = event.instruction.op;
    sample.shape = chunk_shape(chunk, plan.sequences, cut, window);
    sample.kind = to_string(chunk.kind);
    sample.context = chunk.context();
    sample.keeping = chunk.kept_on(event.stage);
    sample.recompute_seconds = event.recompute;
    sample.seconds = event.end - event.begin - event.recompute;
    sample.exchange_seconds = event.exchange;
    sample.temporary =
        trace.memory[2 * i].bytes[static_cast<std::size_t>(MemoryPurpose::kWorkspace)];
    sample.waited = trace.memory[2 * i].bytes[static_cast<std::size_t>(MemoryPurpose::kTransfers)];
    samples.push_back(sample);
  }
  return samples;
}

std::vector<InstructionSample> medians(const std::vector<std::vector<InstructionSample>>& rounds) {
  using Key = std::tuple<int, int, Op, Keep>;
  std::map<Key, std::vector<const InstructionSample*>> by_key;
  std::map<std::tuple<int, int, Op>, std::vector<double>> all_seconds;
  std::vector<Key> order;
  for (const auto& round : rounds) {
    for (const InstructionSample& sample : round) {
      const Key key{sample.chunk, sample.stage.value(), sample.op, level_of(sample)};
      all_seconds[{sample.chunk, sample.stage.value(), sample.op}].push_back(sample.seconds);
      auto& list = by_key[key];
      if (list.empty()) order.push_back(key);
      list.push_back(&sample);
    }
  }
  std::vector<InstructionSample> result;
  for (const Key& key : order) {
    const auto& list = by_key[key];
    InstructionSample sample = *list.front();
    const auto middle = [&](auto member) {
      std::vector<double> values;
      for (const InstructionSample* each : list) values.push_back(each->*member);
      return median(values);
    };
    sample.seconds = median(all_seconds[{sample.chunk, sample.stage.value(), sample.op}]);
    sample.recompute_seconds = middle(&InstructionSample::recompute_seconds);
    sample.exchange_seconds =
        std::min(sample.seconds, middle(&InstructionSample::exchange_seconds));
    Bytes most = sample.temporary + sample.waited;
    for (const InstructionSample* each : list) {
      sample.temporary = std::max(sample.temporary, each->temporary);
      most = std::min(most, each->temporary + each->waited);
    }
    sample.waited = std::max(0.0, most - sample.temporary);
    result.push_back(sample);
  }
  return result;
}

}  // namespace infinipipe

// When an operation may begin, when it ends, and when the message that it sends arrives: the one
// place that reads the rules in docs/simulator.md. The simulator, the planner and the baselines all
// keep time with it; each of them only adds its own choice of what runs next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan.h"

namespace infinipipe {

// The time of one replica's stages and links. A link is one direction between two neighbouring
// stages; it carries one message at a time, in the order in which they were produced. Chunks are
// numbered over all pipelines.
class PipelineClock final {
 public:
  static constexpr Seconds kNotArrived = -1.0;

  struct Message {
    std::size_t to = 0;  // stage
    Seconds begin = 0.0;
    Seconds arrival = 0.0;
  };
  struct Run {
    Seconds begin = 0.0;
    Seconds end = 0.0;
    std::optional<Message> message;  // what it sent; none at the pipeline's ends, and none of a W
  };

  // `transfer`: seconds of each chunk's message, the same in both directions. Not copied.
  PipelineClock(std::size_t stages, std::span<const Seconds> transfer)
      : transfer_(transfer), stages_(stages), arrival_(2 * stages * chunks(), kNotArrived) {
    std::fill_n(arrival_.begin(), chunks(), 0.0);  // the first stage's input is there
  }

  // When the stage has ended what it runs.
  Seconds free(std::size_t stage) const { return stages_[stage].free; }

  // Whether another stage sends what the operation needs.
  bool takes_message(Op op, std::size_t stage) const {
    return op == Op::kForward ? stage > 0 : starts_backward(op) && stage + 1 < stages_.size();
  }

  // When the input of the operation is there; kNotArrived: no stage has made it yet. On the last
  // stage a backward's input is there when the chunk's forward has ended. A W needs no input.
  Seconds arrival(Op op, std::size_t stage, std::size_t chunk) const {
    return op == Op::kWeightGrad ? 0.0 : arrival_[input_index(op, stage, chunk)];
  }
  bool arrived(Op op, std::size_t stage, std::size_t chunk, Seconds by) const {
    const Seconds at = arrival(op, stage, chunk);
    return at != kNotArrived && at <= by;
  }

  // Runs an operation, whose input must have been made. It begins when its stage is free and its
  // input has arrived, or later where a scheduler holds it back until `not_before`. Its result goes
  // to the neighbour as soon as the operation has ended and the link is free.
  Run run(Op op, std::size_t stage, std::size_t chunk, Seconds seconds, Seconds not_before = 0.0) {
    Stage& self = stages_[stage];
    Run result;
    result.begin = std::max(std::max(self.free, arrival(op, stage, chunk)), not_before);
    result.end = result.begin + seconds;
    self.free = result.end;
    if (op == Op::kForward) {
      if (stage + 1 < stages_.size()) {
        result.message = send(op, self.link_down_free, result.end, stage + 1, chunk);
      } else {
        arrival_[input_index(Op::kBackward, stage, chunk)] = result.end;
      }
    } else if (starts_backward(op) && stage > 0) {
      result.message = send(op, self.link_up_free, result.end, stage - 1, chunk);
    }
    return result;
  }

 private:
  struct Stage {
    Seconds free = 0.0;
    Seconds link_down_free = 0.0;  // to the next stage
    Seconds link_up_free = 0.0;    // to the one before
  };

  std::size_t chunks() const { return transfer_.size(); }
  // Inputs by stage and chunk, then gradients.
  std::size_t input_index(Op op, std::size_t stage, std::size_t chunk) const {
    return ((op == Op::kForward ? 0 : stages_.size()) + stage) * chunks() + chunk;
  }
  Message send(Op op, Seconds& link_free, Seconds produced, std::size_t to, std::size_t chunk) {
    const Seconds begin = std::max(produced, link_free);
    link_free = begin + transfer_[chunk];
    arrival_[input_index(op, to, chunk)] = link_free;
    return {to, begin, link_free};
  }

  std::span<const Seconds> transfer_;
  std::vector<Stage> stages_;
  std::vector<Seconds> arrival_;
};

// Lets the stages advance, down the pipeline and up again, until `operations` have run:
// advance(stage) runs what it can and returns how many that were. Asserts that one always can.
template <class Advance>
void run_to_end(std::size_t stages, std::size_t operations, const Advance& advance) {
  for (std::size_t done = 0; done < operations;) {
    const std::size_t before = done;
    for (std::size_t p = 0; p < stages; ++p) done += advance(p);
    for (std::size_t p = stages; p > 0; --p) done += advance(p - 1);
    INFINIPIPE_ASSERT(done > before, "operations wait for each other");
  }
}

}  // namespace infinipipe

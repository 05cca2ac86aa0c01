#include "runtime/command.h"

#include <utility>

namespace infinipipe {
namespace {

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <class... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

}  // namespace

Reply execute(StageExecutor& rank, const Command& command, TimePoint origin) {
  return std::visit(
      Overloaded{
          [&](const RunStep& run) -> Reply { return rank.run(*run.input, origin); },
          [&](const OptimizerStep& update) -> Reply { return rank.optimizer_step(update.step); },
          [&](const ZeroGrad&) -> Reply {
            rank.zero_grad();
            return {};
          },
          [&](const StateChanged&) -> Reply {
            rank.state_changed();
            return {};
          },
          [&](const NextLogits& text) -> Reply {
            if (rank.replica() > 0) return at::Tensor();  // one text is one replica's work
            const at::Tensor logits = rank.logits(text.tokens, text.last, text.begin, text.goes_on);
            return logits.defined() ? logits.to(at::kCPU) : logits;
          },
          [&](const ForgetText&) -> Reply {
            rank.forget_text();
            return {};
          },
      },
      command);
}

const char* name_of(const Command& command) {
  return std::visit(Overloaded{
                        [](const RunStep&) { return "run"; },
                        [](const OptimizerStep&) { return "optimizer"; },
                        [](const ZeroGrad&) { return "zero_grad"; },
                        [](const StateChanged&) { return "state"; },
                        [](const NextLogits&) { return "logits"; },
                        [](const ForgetText&) { return "text"; },
                    },
                    command);
}

std::string part_of(const Command& command) {
  const bool of_step =
      std::holds_alternative<RunStep>(command) || std::holds_alternative<OptimizerStep>(command);
  return of_step ? "step " + std::to_string(step_of(command)) : name_of(command);
}

int step_of(const Command& command) {
  if (const auto* run = std::get_if<RunStep>(&command)) return run->input->plan.step;
  if (const auto* update = std::get_if<OptimizerStep>(&command)) return update->step;
  return 0;
}

}  // namespace infinipipe

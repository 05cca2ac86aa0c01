#include "trainer/preflight.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/file_uses.h"
#include "core/config_files.h"
#include "core/gpus.h"
#include "data/tokenizer.h"
#include "infinipipe/base/error.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/factory.h"
#include "planner/layer_split.h"
#include "trainer/checkpoint.h"
#include "trainer/metrics_file.h"
#include "trainer/profile.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

void require_room(const TrainConfig& config) {
  struct statvfs disk {};
  if (::statvfs(existing_folder(config.checkpoint.path).c_str(), &disk) != 0) return;
  const Bytes room = static_cast<Bytes>(disk.f_bavail) * static_cast<Bytes>(disk.f_frsize);
  const Bytes needed = checkpoint_bytes(config);
  if (room >= needed) return;
  throw RunError("config: checkpoint.path",
                 "found room for " + format_bytes(room) + " in " + config.checkpoint.path,
                 "a checkpoint takes " + format_bytes(needed),
                 "make room, or choose another folder");
}

}  // namespace

void require_ready(const TrainOptions& options, const TrainConfig& config) {
  require_runnable(config, options.ranks);
  const PlanContext context =
      plan_context(config, estimated_profile(config.model, config.training.dtype));
  require_known_planner(context);
  stage_layers(context);
  const std::string& profile = config.cluster.profile;
  if (!profile.empty() && !is_estimate(profile)) {
    require_profile_of(config, read_profile(profile), profile, options.warn);
  }
  const std::string metrics = fs::path(config.metrics.path).parent_path().string();
  for (const std::string& folder :
       {options.plan_dir, options.trace_dir, config.checkpoint.path,
        config.metrics.path.empty() || !metrics.empty() ? metrics : "."}) {
    if (!folder.empty()) require_writable_folder(folder);
  }
  if (!config.checkpoint.path.empty()) require_room(config);
  if (!options.resume) MetricsFile::require_free(config.metrics.path);
  require_own_outputs(config_files(config, "config", [](const ConfigKey&) { return true; }));
}

Survey survey_data(const BatchSource& batches, const TrainConfig& config, int first,
                   const std::atomic<bool>* stop,
                   const std::function<void(const std::string&)>& log) {
  constexpr Tokens kProgress = Tokens{1} << 28;
  const Corpus& corpus = batches.corpus();
  std::vector<bool> seen(static_cast<std::size_t>(corpus.pieces()), false);
  Survey survey;
  Tokens read = 0;
  Tokens shown = kProgress;
  std::int64_t left = corpus.pieces();
  for (int step = first; step < config.training.steps && left > 0; ++step) {
    if (stop != nullptr && stop->load()) throw Stopped("looking at the data");
    for (const std::int64_t number : batches.pieces(step)) {
      if (seen[static_cast<std::size_t>(number)]) continue;
      seen[static_cast<std::size_t>(number)] = true;
      --left;
      const auto length = static_cast<Tokens>(batches.load_piece(corpus.piece(number)).size());
      read += length;
      if (length <= survey.longest) continue;
      survey.longest = length;
      survey.step = step;
    }
    if (read < shown) continue;
    shown = read + kProgress;
    log("data    looked at " + format_count(read) + " tokens that will be drawn");
  }
  if (survey.longest < 2 && first < config.training.steps) {
    throw InputError(config.data.path, "no document that will be drawn has two tokens",
                     "expected something to predict",
                     config.data.max_sequence_length < 2 ? "raise data.max_sequence_length"
                                                         : "build it from longer texts");
  }
  return survey;
}

std::optional<TokenizerFacts> tokenizer_facts(const TrainConfig& config,
                                              const std::function<void(const std::string&)>& warn) {
  try {
    const auto tokenizer = make_tokenizer(config.data.tokenizer);
    return TokenizerFacts{tokenizer->vocab_size(), tokenizer->end_of_document()};
  } catch (const RunError& error) {
    warn(std::string("data.tokenizer: ") + error.what() + "; training does without");
    return std::nullopt;
  }
}

void warn_of_small_vocabulary(const TrainConfig& config,
                              const std::optional<TokenizerFacts>& tokenizer,
                              const std::function<void(const std::string&)>& warn) {
  if (!tokenizer || tokenizer->vocab_size <= config.model.vocab_size) return;
  warn("model.vocab_size: " + std::to_string(config.model.vocab_size) +
       " is less than the tokenizer's " + std::to_string(tokenizer->vocab_size) +
       " ids: text that needs the others cannot be a prompt");
}

void require_memory(const TrainConfig& config, const Survey& survey, const Ranks* ranks) {
  const bool given = config.memory.bytes_per_stage > 0.0;
  const Bytes limit = given ? config.memory.bytes_per_stage : stage_share(config, ranks);
  const Profile profile = estimated_profile(config.model, config.training.dtype);
  const PlanContext context = plan_context(config, profile);
  const std::vector<LayerRange> stages = stage_layers(context);
  const CostModel cost(profile, context.parallelism, stages);
  for (std::size_t p = 0; p < stages.size(); ++p) {
    const Bytes inputs = static_cast<Bytes>(survey.longest) * profile.memory.input_bytes_per_token *
                         stages[p].count();
    const Bytes least = cost.state_bytes(StageId(p)) + inputs;
    if (least <= limit) continue;
    throw RunError(
        "config: memory.bytes_per_stage",
        given ? "found " + format_bytes(limit)
              : "a stage's share of this machine is " + format_bytes(limit),
        "stage " + std::to_string(p) + " needs more than " + format_bytes(least) +
            " even if every layer is recomputed: " + format_bytes(least - inputs) +
            " of states, and the layers' inputs for a document of " + format_count(survey.longest) +
            " tokens",
        std::string(given ? "raise it, add stages, or lower" : "use a smaller model, or lower") +
            " data.max_sequence_length; nothing was trained");
  }
}

void require_plan(const Planner& planner, const PlanRequest& request, const std::string& where,
                  const std::string& longest, Tokens tokens) {
  try {
    planner.plan(request);
  } catch (const RunError& error) {
    throw RunError(where, error.what(), "",
                   longest + " has " + format_count(tokens) +
                       " tokens (data.max_sequence_length); nothing was trained");
  }
}

void require_fitting(const Planner& planner, const BatchSource& batches, const Survey& survey) {
  PlanRequest request;
  request.sequences = batches.lengths(survey.step);
  request.step = survey.step;
  require_plan(planner, request, "step " + std::to_string(survey.step), "its longest document",
               survey.longest);
}

}  // namespace infinipipe

// The key table: the one place where a key's name, help, type and field meet.
#include "infinipipe/core/config.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "base/number_text.h"
#include "base/utf8.h"
#include "core/config_text.h"
#include "core/data_sets.h"
#include "core/gpus.h"
#include "core/model_files.h"
#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/keeping.h"

namespace infinipipe {
namespace {

std::string quoted(const std::string& value) { return "found '" + value.substr(0, 60) + "'"; }

// `otherwise`: what else the key takes, like " or auto".
template <class Integer>
Integer parse_integer(const std::string& name, const std::string& value,
                      const std::string& otherwise = {}) {
  using Limits = std::numeric_limits<Integer>;
  Integer number{};
  const char* const end = value.data() + value.size();
  const auto [last, error] = std::from_chars(value.data(), end, number);
  if (error == std::errc() && last == end) return number;
  std::string expected = "expected a whole number" + otherwise;
  if (error == std::errc::result_out_of_range) {
    expected = "expected a whole number of at least " + std::to_string(Limits::min()) +
               " and at most " + std::to_string(Limits::max()) + otherwise;
  }
  throw InputError(name, quoted(value), expected);
}

// No key takes a number that is not finite, and later messages could not show where it was written.
double parse_number(const std::string& name, const std::string& value) {
  double number = 0.0;
  const char* const end = value.data() + value.size();
  const auto [last, error] = std::from_chars(value.data(), end, number);
  const bool is_number = last == end && error != std::errc::invalid_argument;
  if (is_number && error == std::errc() && std::isfinite(number)) return number;
  throw InputError(name, quoted(value),
                   is_number ? "expected a finite number" : "expected a number");
}

bool parse_boolean(const std::string& name, const std::string& value) {
  if (value == "true") return true;
  if (value == "false") return false;
  throw InputError(name, quoted(value), "expected true or false");
}

std::vector<int> parse_integers(const std::string& name, const std::string& value) {
  std::vector<int> numbers;
  const char* at = value.data();
  const char* const end = at + value.size();
  const auto skip_spaces = [&] {
    while (at != end && *at == ' ') ++at;
  };
  while (true) {
    skip_spaces();
    const auto [last, error] = std::from_chars(at, end, numbers.emplace_back());
    at = last;
    skip_spaces();
    if (error == std::errc() && at == end) return numbers;
    if (error != std::errc() || *at++ != ',') {
      throw InputError(name, quoted(value), "expected whole numbers like 3,5, or auto");
    }
  }
}

// Builds the table; `field` is a lambda from TrainConfig& to the field.
class Table final {
 public:
  // The value of a row of a table whose rows have a name, a value and a line for help.
  // A name that people expect and that is no row, and what to do instead.
  struct Absent {
    const char* name = "";
    const char* instead = "";
  };
  template <class Rows, class Field>
  void choice(const char* name, const Rows& rows, Field field, const Absent& absent = {}) {
    std::vector<std::string> explained;
    for (const auto& row : rows) {
      explained.push_back(std::string(row.name) + " (" + row.line + ")");
    }
    add(
        name, listed(explained), ConfigType::kText,
        [field](const TrainConfig& c) -> std::string { return to_string(field(c)); },
        [field, &rows, absent, key = std::string(name)](TrainConfig& c, const std::string& value) {
          if (!value.empty() && value == absent.name) {
            throw InputError(key, quoted(value), "expected " + listed(names_of(rows)),
                             absent.instead);
          }
          field(c) = named(rows, value, key).value;
        });
  }

  template <class Field>
  void text(const char* name, const std::string& help, Field field) {
    add(
        name, help, ConfigType::kText, [field](const TrainConfig& c) { return field(c); },
        [field](TrainConfig& c, const std::string& value) { field(c) = value; });
  }

  template <class Field>
  void integer(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kInteger,
        [field](const TrainConfig& c) { return std::to_string(field(c)); },
        [field, key = std::string(name)](TrainConfig& c, const std::string& value) {
          using Integer = std::remove_reference_t<decltype(field(c))>;
          field(c) = parse_integer<Integer>(key, value);
        });
  }

  template <class Field>
  void number(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kNumber,
        [field](const TrainConfig& c) { return number_text(field(c)); },
        [field, key = std::string(name)](TrainConfig& c, const std::string& value) {
          field(c) = parse_number(key, value);
        });
  }

  template <class Field>
  void boolean(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kBoolean,
        [field](const TrainConfig& c) -> std::string { return field(c) ? "true" : "false"; },
        [field, key = std::string(name)](TrainConfig& c, const std::string& value) {
          field(c) = parse_boolean(key, value);
        });
  }

  template <class Field>
  void integer_or_auto(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kIntegerOrAuto,
        [field](const TrainConfig& c) { return field(c) ? std::to_string(*field(c)) : "auto"; },
        [field, key = std::string(name)](TrainConfig& c, const std::string& value) {
          using Integer = typename std::remove_reference_t<decltype(field(c))>::value_type;
          if (value == "auto") {
            field(c).reset();
          } else {
            field(c) = parse_integer<Integer>(key, value, " or auto");
          }
        });
  }

  template <class Field>
  void integers_or_auto(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kIntegersOrAuto,
        [field](const TrainConfig& c) -> std::string {
          if (!field(c)) return "auto";
          std::string list;
          for (const int number : *field(c)) {
            list += (list.empty() ? "" : ",") + std::to_string(number);
          }
          return list;
        },
        [field, key = std::string(name)](TrainConfig& c, const std::string& value) {
          if (value == "auto") {
            field(c).reset();
          } else {
            field(c) = parse_integers(key, value);
          }
        });
  }

  template <class Field>
  void names(const char* name, const char* help, Field field) {
    add(
        name, help, ConfigType::kNames,
        [field](const TrainConfig& c) { return listed(field(c), ",", ","); },
        [field](TrainConfig& c, const std::string& value) { field(c) = split_names(value); });
  }

  void add(const char* name, const std::string& help, ConfigType type,
           std::function<std::string(const TrainConfig&)> get,
           std::function<void(TrainConfig&, const std::string&)> set) {
    keys_.push_back({name, help, type, std::move(get), std::move(set), {}, false});
  }

  // Of the key before.
  void whole_model() { keys_.back().whole_model = true; }
  // Another name of the key before.
  void also(const char* name) { keys_.back().also = name; }

  std::vector<ConfigKey> take() { return std::move(keys_); }

 private:
  std::vector<ConfigKey> keys_;
};

// The field of a TrainConfig, const or not.
#define INFINIPIPE_FIELD(path) \
  [](auto& c) -> auto& { return c.path; }  // NOLINT(bugprone-macro-parentheses)

// A flag's preset or folder takes the place of a file's; what the file makes of that model's RoPE
// is meant still.
void replace_model(TrainConfig& c, const ModelSpec& model) {
  const bool replaces = !c.model_from.empty() || !c.model_preset.empty();
  const ModelSpec earlier = std::exchange(c.model, model);
  const ModelSpec before = std::exchange(c.model_before, model);
  if (!replaces) return;
  if (!(earlier.rope == before.rope)) c.model.rope = earlier.rope;
  if (earlier.rope_theta != before.rope_theta) c.model.rope_theta = earlier.rope_theta;
}

void add_model(Table& t) {
  t.add(
      "model.preset",
      "a model by name (" + listed(model_preset_names(), ", ") +
          "); the other model keys change it",
      ConfigType::kText, [](const TrainConfig& c) { return c.model_preset; },
      [](TrainConfig& c, const std::string& value) {
        if (!value.empty()) {
          replace_model(c, model_preset(value));
          c.model_from.clear();
        }
        c.model_preset = value;
      });
  t.whole_model();
  t.add(
      "model.from",
      "a Hugging Face folder, or a checkpoint, whose weights training begins with; the model is "
      "its config.json's, and the other model keys change it; empty: new weights",
      ConfigType::kText, [](const TrainConfig& c) { return c.model_from; },
      [](TrainConfig& c, const std::string& value) {
        if (value == c.model_from) return;  // a resumed run has it from its checkpoint
        if (!value.empty()) {
          const std::string folder = model_folder(value);
          replace_model(c, read_model(folder));
          c.model_preset.clear();
          if (c.data.tokenizer == DataConfig{}.tokenizer) {  // nobody has said another
            const std::string own = tokenizer_in(folder);
            if (!own.empty()) c.data.tokenizer = own;
          }
        }
        c.model_from = value;
      });
  t.whole_model();
  t.integer("model.hidden_size", "width of the residual stream",
            INFINIPIPE_FIELD(model.hidden_size));
  t.integer("model.intermediate_size", "width inside the MLP",
            INFINIPIPE_FIELD(model.intermediate_size));
  t.integer("model.num_hidden_layers", "decoder layers", INFINIPIPE_FIELD(model.num_hidden_layers));
  t.integer("model.num_attention_heads", "query heads",
            INFINIPIPE_FIELD(model.num_attention_heads));
  t.integer("model.num_key_value_heads", "key and value heads (grouped-query attention)",
            INFINIPIPE_FIELD(model.num_key_value_heads));
  t.integer("model.head_dim", "width of a head; 0: hidden_size / num_attention_heads",
            INFINIPIPE_FIELD(model.head_dim));
  t.integer("model.vocab_size", "token ids; 257: bytes and end of document",
            INFINIPIPE_FIELD(model.vocab_size));
  t.number("model.rope_theta", "base of the rotary embedding", INFINIPIPE_FIELD(model.rope_theta));
  t.also("model.rope.theta");
  t.number("model.rms_norm_eps", "added to the mean square in norms",
           INFINIPIPE_FIELD(model.rms_norm_eps));
  t.number("model.initializer_range", "standard deviation of fresh weights",
           INFINIPIPE_FIELD(model.initializer_range));
  t.boolean("model.tie_word_embeddings", "the head's weight is the embedding's",
            INFINIPIPE_FIELD(model.tie_word_embeddings));
  t.choice("model.model_type", kFamilies, INFINIPIPE_FIELD(model.family));
  t.integer("model.max_position_embeddings", "the context that the model is for; 0: not said",
            INFINIPIPE_FIELD(model.max_position_embeddings));
  t.integer("model.sliding_window",
            "each token sees itself and the sliding_window - 1 tokens before it; 0: all",
            INFINIPIPE_FIELD(model.sliding_window));

  t.choice("model.rope.type", kRopeTypes, INFINIPIPE_FIELD(model.rope.type));
  t.number("model.rope.factor", "how many times longer the context becomes",
           INFINIPIPE_FIELD(model.rope.factor));
  t.integer("model.rope.original_max_position_embeddings",
            "llama3, yarn: the context that the weights were first trained at; 0: the model's",
            INFINIPIPE_FIELD(model.rope.original_max_position_embeddings));
  t.number("model.rope.low_freq_factor", "llama3: wavelengths over the original / this are divided",
           INFINIPIPE_FIELD(model.rope.low_freq_factor));
  t.number("model.rope.high_freq_factor", "llama3: wavelengths below the original / this stay",
           INFINIPIPE_FIELD(model.rope.high_freq_factor));
  t.number("model.rope.attention_factor", "yarn: of cosines and sines; 0: by factor and mscale",
           INFINIPIPE_FIELD(model.rope.attention_factor));
  t.number("model.rope.beta_fast", "yarn: what turns so often in the original context stays",
           INFINIPIPE_FIELD(model.rope.beta_fast));
  t.number("model.rope.beta_slow", "yarn: what turns less often than this is divided by factor",
           INFINIPIPE_FIELD(model.rope.beta_slow));
  t.number("model.rope.mscale", "yarn: with mscale_all_dim, gives attention_factor; 0: not set",
           INFINIPIPE_FIELD(model.rope.mscale));
  t.number("model.rope.mscale_all_dim", "yarn: with mscale, gives attention_factor; 0: not set",
           INFINIPIPE_FIELD(model.rope.mscale_all_dim));
  t.boolean("model.rope.truncate", "yarn: the ramp begins and ends at whole dimensions",
            INFINIPIPE_FIELD(model.rope.truncate));
}

void add_training(Table& t) {
  t.add(
      "data.path",
      "indexed data set: the prefix of PREFIX.bin and PREFIX.idx; or several with weights: "
      "data/code:0.7,data/books:0.3",
      ConfigType::kDataSets, [](const TrainConfig& c) { return c.data.path; },
      [](TrainConfig& c, const std::string& value) {
        c.data.path = value.empty() ? value : data_sets_text(parse_data_sets(value));
      });
  t.text("data.tokenizer",
         "byte, or the path of a tokenizer.json, of a SentencePiece model, or of a folder with one",
         INFINIPIPE_FIELD(data.tokenizer));
  t.integer("data.max_sequence_length", "the most tokens of a sequence",
            INFINIPIPE_FIELD(data.max_sequence_length));
  t.choice("data.long_documents", kLongDocuments, INFINIPIPE_FIELD(data.long_documents));

  t.integer("training.steps", "optimizer steps", INFINIPIPE_FIELD(training.steps));
  t.integer("training.sequences_per_step", "documents in one step",
            INFINIPIPE_FIELD(training.sequences_per_step));
  t.integer("training.tokens_per_step",
            "most tokens in one step, of whole documents; 0: sequences_per_step decides alone",
            INFINIPIPE_FIELD(training.tokens_per_step));
  t.integer("training.seed", "of the weights and the order of the documents",
            INFINIPIPE_FIELD(training.seed));
  t.choice("training.dtype", kDtypes, INFINIPIPE_FIELD(training.dtype));
  t.number("training.max_minutes", "stop cleanly after so long; 0: no limit",
           INFINIPIPE_FIELD(training.max_minutes));
  t.integer("training.max_skipped_steps",
            "so many skipped steps in a row, because of values that are not finite, fail the run; "
            "0: no limit",
            INFINIPIPE_FIELD(training.max_skipped_steps));
  t.boolean("training.check_finite",
            "look at what each layer gives and name the first tensor that is not finite",
            INFINIPIPE_FIELD(training.check_finite));
  t.names("training.only",
          "train only weights with one of these in their name, like q_proj or model.layers.3; "
          "empty: all",
          INFINIPIPE_FIELD(training.only));

  t.number("optimizer.lr", "peak learning rate of AdamW", INFINIPIPE_FIELD(optimizer.lr));
  t.choice("optimizer.lr_schedule", kLrSchedules, INFINIPIPE_FIELD(optimizer.lr_schedule));
  t.number("optimizer.min_lr_ratio", "the rate ends at lr times this",
           INFINIPIPE_FIELD(optimizer.min_lr_ratio));
  t.integer("optimizer.warmup_steps", "steps of linear warm-up",
            INFINIPIPE_FIELD(optimizer.warmup_steps));
  t.integer("optimizer.decay_steps", "step at which the rate has come down; 0: training.steps",
            INFINIPIPE_FIELD(optimizer.decay_steps));
  t.integer("optimizer.wsd_decay_steps", "wsd: steps over which it comes down; 0: a fifth of all",
            INFINIPIPE_FIELD(optimizer.wsd_decay_steps));
  t.number("optimizer.beta1", "decay of the first moment", INFINIPIPE_FIELD(optimizer.beta1));
  t.number("optimizer.beta2", "decay of the second moment", INFINIPIPE_FIELD(optimizer.beta2));
  t.number("optimizer.eps", "added to the root of the second moment",
           INFINIPIPE_FIELD(optimizer.eps));
  t.number("optimizer.weight_decay", "decoupled, on matrices only",
           INFINIPIPE_FIELD(optimizer.weight_decay));
  t.number("optimizer.clip_grad_norm", "largest global gradient norm; 0: no clipping",
           INFINIPIPE_FIELD(optimizer.clip_grad_norm));
}

void add_planning(Table& t) {
  t.integer("parallelism.stages", "pipeline stages", INFINIPIPE_FIELD(parallelism.stages));
  t.integer("parallelism.sequence_parallel",
            "devices of a stage, which share each chunk's tokens and heads",
            INFINIPIPE_FIELD(parallelism.sequence_parallel));
  t.integer("parallelism.data_parallel", "replicas of the pipeline, each with a share of the batch",
            INFINIPIPE_FIELD(parallelism.data_parallel));
  t.integers_or_auto("parallelism.layers_per_stage", "layers of each stage (3,5), or auto",
                     INFINIPIPE_FIELD(parallelism.layers_per_stage));

  t.number("memory.bytes_per_stage",
           "memory of a stage in bytes, states included (4e9); 0: the profile's device memory",
           INFINIPIPE_FIELD(memory.bytes_per_stage));

  t.text("planner.name", std::string(kDefaultPlanner) + ", or another of --planner's",
         INFINIPIPE_FIELD(planner.name));
  t.integer_or_auto("planner.slices", "slices of the longest sequence (K), or auto",
                    INFINIPIPE_FIELD(planner.slices));
  t.integer_or_auto("planner.chunk_tokens", "most tokens of a chunk, or auto",
                    INFINIPIPE_FIELD(planner.chunk_tokens));
  t.text("planner.recompute_keeps",
         "what recomputed layers keep: " + remade_level_names() +
             "; auto: " + std::string(kDefaultPlanner) + " mixes what the profile knows",
         INFINIPIPE_FIELD(planner.recompute_keeps));
  t.text("planner.degree",
         "devices that share a chunk of whole sequences: whole (the sequence-parallel group), or "
         "auto: sub-groups of it, where that is faster",
         INFINIPIPE_FIELD(planner.degree));
  t.add(
      "planner.disable",
      "parts of the elastic planner that must not run: " + listed(names_of(kPasses), ", "),
      ConfigType::kNames, [](const TrainConfig& c) { return c.planner.passes.disabled_names(); },
      [](TrainConfig& c, const std::string& value) {
        c.planner.passes = PassSet::without_named(value, "planner.disable");
      });
  t.number("planner.solver_gap", "the integer programme may stop this near to its bound",
           INFINIPIPE_FIELD(planner.solver_gap));
  t.integer("planner.solver_nodes", "branch-and-bound nodes of the integer programme",
            INFINIPIPE_FIELD(planner.solver_nodes));
  t.number("planner.solver_seconds", "emergency stop of the integer programme",
           INFINIPIPE_FIELD(planner.solver_seconds));
  t.integer("planner.ahead", "steps that are planned ahead while training runs",
            INFINIPIPE_FIELD(planner.ahead));
  t.boolean("planner.recalibrate",
            "let measured steps change decisions: the same run then may plan, and round, otherwise",
            INFINIPIPE_FIELD(planner.recalibrate));

  t.text(
      "cluster.profile",
      "profile.json of the machine; estimate: from the model's FLOPs; estimate:NAME: of a GPU (" +
          listed(names_of(kGpus)) +
          "); empty: train measures this machine, other commands estimate",
      INFINIPIPE_FIELD(cluster.profile));
  t.integer("cluster.devices", "0: stages x sequence_parallel x data_parallel",
            INFINIPIPE_FIELD(cluster.devices));
  t.integer("cluster.devices_per_node", "devices that share the fast links",
            INFINIPIPE_FIELD(cluster.devices_per_node));
}

void add_running(Table& t) {
  t.choice("runtime.device", kDevices, INFINIPIPE_FIELD(runtime.device));
  t.choice("runtime.communicator", kCommunicators, INFINIPIPE_FIELD(runtime.communicator),
           {"mpi", "mpirun starts the processes all the same, and they talk over gloo or nccl"});
  t.integer("runtime.threads_per_stage", "threads inside a stage's operations",
            INFINIPIPE_FIELD(runtime.threads_per_stage));
  t.boolean("runtime.pooled_allocator", "reuse CPU tensors' memory",
            INFINIPIPE_FIELD(runtime.pooled_allocator));
  t.boolean("runtime.direct_copies",
            "processes of one host write into each other's memory, where the system lets them",
            INFINIPIPE_FIELD(runtime.direct_copies));
  t.number("runtime.stalled_after_seconds",
           "an instruction that takes longer ends the run, naming it; 0: never",
           INFINIPIPE_FIELD(runtime.stalled_after_seconds));
  t.number("runtime.lost_after_seconds",
           "a process of several that is silent for so long ends the run, naming it",
           INFINIPIPE_FIELD(runtime.lost_after_seconds));

  t.text("checkpoint.path", "folder of the checkpoints; empty: none",
         INFINIPIPE_FIELD(checkpoint.path));
  t.integer("checkpoint.every", "steps between checkpoints; 0: only at the end",
            INFINIPIPE_FIELD(checkpoint.every));
  t.integer("checkpoint.keep", "newest checkpoints that are kept",
            INFINIPIPE_FIELD(checkpoint.keep));

  t.text("metrics.path", "metrics.jsonl, one object a step; empty: none",
         INFINIPIPE_FIELD(metrics.path));
  t.text("metrics.run_name", "name of the run in each line; empty: its id",
         INFINIPIPE_FIELD(metrics.run_name));

  t.text("eval.data",
         "indexed data set by whose loss training is judged while it runs; empty: none",
         INFINIPIPE_FIELD(eval.data));
  t.integer("eval.every", "steps between two evaluations; 0: only at the end",
            INFINIPIPE_FIELD(eval.every));
  t.integer("eval.sequences",
            "documents of it, or parts of split ones, from the first one on; 0: all",
            INFINIPIPE_FIELD(eval.sequences));
}

#undef INFINIPIPE_FIELD

// What to say about a key that is not there.
std::string advice(std::string_view key) {
  std::vector<std::string> names;
  std::vector<std::string> in_section;
  const std::string section(key.substr(0, std::min(key.rfind('.'), key.size())));
  std::string list;
  for (const ConfigKey& known : config_keys()) {
    names.push_back(known.name);
    const std::string leaf = known.name.substr(known.section().size() + 1);
    if (key == leaf) return "did you mean " + known.name + "?";
    if (known.section() == section) {
      in_section.push_back(known.name);
      list += (list.empty() ? "" : ", ") + leaf;
    }
  }
  std::string near = nearest(key, in_section);
  if (near.empty()) near = nearest(key, names);
  if (!near.empty()) return "did you mean " + near + "?";
  if (!list.empty()) return "expected one of [" + section + "]'s: " + list;
  return "expected section.key like training.steps";
}

}  // namespace

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> kKeys = [] {
    Table table;
    add_model(table);
    add_training(table);
    add_planning(table);
    add_running(table);
    return table.take();
  }();
  return kKeys;
}

void require_text(std::string_view name, std::string_view value) {
  constexpr const char* kExpected = "expected UTF-8 text without NUL characters";
  if (value.find('\0') != std::string_view::npos) {
    throw InputError(name, "found text with a NUL character", kExpected);
  }
  if (find_invalid_utf8(value) != std::string_view::npos) {
    throw InputError(name, "found text that is not UTF-8", kExpected);
  }
}

const ConfigKey* find_config_key(std::string_view name) {
  for (const ConfigKey& key : config_keys()) {
    if (key.is_called(name)) return &key;
  }
  return nullptr;
}

void refuse_key(std::string_view key, std::string_view where) {
  const std::string prefix = where.empty() ? "" : std::string(where) + ": ";
  throw InputError(prefix + std::string(key), "unknown key", advice(key));
}

void set_config(TrainConfig& config, std::string_view key, const std::string& value,
                std::string_view where) {
  const ConfigKey* const known = find_config_key(key);
  if (known == nullptr) refuse_key(key, where);
  try {
    require_text(key, value);
    known->set(config, value);
  } catch (const InputError& error) {
    throw InputError(where, error.what());
  }
}

void set_configs(TrainConfig& config, const ConfigValues& values, std::string_view where) {
  for (const ConfigKey& key : config_keys()) {
    if (!key.whole_model) continue;
    for (const auto& [name, value] : values) {
      if (key.is_called(name)) set_config(config, name, value, where);
    }
  }
  for (const auto& [name, value] : values) {
    const ConfigKey* const key = find_config_key(name);
    if (key == nullptr || !key->whole_model) set_config(config, name, value, where);
  }
}

}  // namespace infinipipe

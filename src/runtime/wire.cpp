#include "runtime/wire.h"

#include <ATen/ops/empty.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "infinipipe/base/error.h"
#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"

namespace infinipipe::wire {
namespace {

constexpr const char* kHere = "a message between ranks";

// Values as they lie in memory.
Json binary(const void* data, std::size_t bytes) {
  Json::binary_t::container_type copy(bytes);
  if (bytes > 0) std::memcpy(copy.data(), data, bytes);
  return Json::binary(std::move(copy));
}

template <class Value>
Json binary(const std::vector<Value>& values) {
  return binary(values.data(), values.size() * sizeof(Value));
}

template <class Value>
std::vector<Value> values(const Json& json) {
  const auto& bytes = json.get_binary();
  std::vector<Value> result(bytes.size() / sizeof(Value));
  if (!result.empty()) std::memcpy(result.data(), bytes.data(), result.size() * sizeof(Value));
  return result;
}

Json tensor_to_json(const at::Tensor& tensor) {
  if (!tensor.defined()) return nullptr;
  const at::Tensor plain = tensor.contiguous();
  return {{"dtype", static_cast<int>(plain.scalar_type())},
          {"shape", plain.sizes().vec()},
          {"values", binary(plain.const_data_ptr(), plain.nbytes())}};
}

at::Tensor tensor_from_json(const Json& json) {
  if (json.is_null()) return {};
  const at::Tensor tensor =
      at::empty(json.at("shape").get<std::vector<std::int64_t>>(),
                at::dtype(static_cast<at::ScalarType>(json.at("dtype").get<int>())));
  const auto& bytes = json.at("values").get_binary();
  INFINIPIPE_ASSERT(bytes.size() == tensor.nbytes(), "a tensor and its bytes");
  if (!bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

// All sequences' tokens and weights, one after the other; lengths stand in the plan. Ids fit 32
// bits, as they do in data sets.
Json batch_to_json(const Batch& batch) {
  std::vector<std::int32_t> tokens;
  std::vector<float> weights;
  std::vector<std::uint8_t> weighted;
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    for (const std::int64_t token : batch.sequences[i])
      tokens.push_back(static_cast<std::int32_t>(token));
    weighted.push_back(i < batch.weights.size() && !batch.weights[i].empty() ? 1 : 0);
    if (weighted.back() != 0)
      weights.insert(weights.end(), batch.weights[i].begin(), batch.weights[i].end());
  }
  return {{"tokens", binary(tokens)}, {"weights", binary(weights)}, {"weighted", binary(weighted)}};
}

Batch batch_from_json(const Json& json, const std::vector<Tokens>& lengths) {
  const auto tokens = values<std::int32_t>(json.at("tokens"));
  const auto weights = values<float>(json.at("weights"));
  const auto weighted = values<std::uint8_t>(json.at("weighted"));
  Batch batch;
  auto token = tokens.begin();
  auto weight = weights.begin();
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    batch.sequences.emplace_back(token, token + lengths[i]);
    token += lengths[i];
    auto& its = batch.weights.emplace_back();
    if (weighted[i] == 0) continue;
    its.assign(weight, weight + lengths[i]);
    weight += lengths[i];
  }
  return batch;
}

// What a step's input refers to, and the input.
struct OwnedInput {
  Plan plan;
  Batch batch;
  StepInput input;

  OwnedInput(Plan its_plan, Batch its_batch)
      : plan(std::move(its_plan)), batch(std::move(its_batch)), input(plan, batch) {}
};

// Every value of a run's measurements as a double, in one order for both ways: `visit` is called
// with each of them.
template <class Instruction, class Visit>
void visit_instruction(Instruction& instruction, const Visit& visit) {
  visit(instruction.op);
  visit(instruction.pipeline);
  visit(instruction.chunk);
}
template <class Event, class Visit>
void visit_event(Event& event, const Visit& visit) {
  visit(event.replica);
  visit(event.stage);
  visit_instruction(event.instruction, visit);
  for (auto* seconds : {&event.ready, &event.begin, &event.end, &event.recompute, &event.exchange})
    visit(*seconds);
}
template <class Transfer, class Visit>
void visit_transfer(Transfer& transfer, const Visit& visit) {
  visit(transfer.replica);
  visit(transfer.from);
  visit(transfer.to);
  visit_instruction(transfer.producer, visit);
  for (auto* value : {&transfer.begin, &transfer.end, &transfer.bytes}) visit(*value);
}
template <class Sample, class Visit>
void visit_sample(Sample& sample, const Visit& visit) {
  visit(sample.replica);
  visit(sample.stage);
  visit(sample.at);
  for (auto& bytes : sample.bytes) visit(bytes);
}
template <class Run, class Visit>
void visit_numbers(Run& run, const Visit& visit) {
  visit(run.loss);
  for (auto* part : {&run.parts.matmul, &run.parts.attention, &run.parts.elementwise,
                     &run.parts.exchange, &run.parts.head})
    visit(*part);
  visit(run.exchanged_bytes);
  visit(run.peak_bytes);
  visit(run.peak_activation_bytes);
  visit(run.largest_allocation);
  visit(run.reserved_bytes);
  visit(run.not_finite_at);
}

// Writes values; what is below 2^53 stays exact.
struct Put {
  std::vector<double>* to;

  template <class Value>
  void operator()(const Value& value) const {
    if constexpr (requires { value.value(); }) {
      to->push_back(static_cast<double>(value.value()));
    } else {
      to->push_back(static_cast<double>(value));
    }
  }
};

struct Take {
  const double** from;

  template <class Value>
  void operator()(Value& value) const {
    const double number = *(*from)++;
    if constexpr (requires { value.value(); }) {
      value = Value(static_cast<int>(number));
    } else if constexpr (std::is_enum_v<Value>) {
      value = static_cast<Value>(static_cast<int>(number));
    } else {
      value = static_cast<Value>(number);
    }
  }
};

template <class Items, class Each>
Json list_to_json(const Items& items, const Each& each) {
  std::vector<double> numbers;
  for (const auto& item : items) each(item, Put{&numbers});
  return {{"count", items.size()}, {"values", binary(numbers)}};
}

template <class Item, class Each>
std::vector<Item> list_from_json(const Json& json, const Each& each) {
  const auto numbers = values<double>(json.at("values"));
  const double* next = numbers.data();
  std::vector<Item> items(json.at("count").get<std::size_t>());
  for (Item& item : items) each(item, Take{&next});
  INFINIPIPE_ASSERT(next == numbers.data() + numbers.size(), "a list and its values");
  return items;
}

constexpr auto kEvent = [](auto& event, const auto& visit) { visit_event(event, visit); };
constexpr auto kTransfer = [](auto& each, const auto& visit) { visit_transfer(each, visit); };
constexpr auto kSample = [](auto& sample, const auto& visit) { visit_sample(sample, visit); };
constexpr auto kNumbers = [](auto& run, const auto& visit) { visit_numbers(run, visit); };

Json run_to_json(const StageRun& run) {
  Json terms = Json::array();
  for (const auto& sequence : run.terms) terms.push_back(binary(sequence));
  return {{"numbers", list_to_json(std::vector<StageRun>{run}, kNumbers)},
          {"events", list_to_json(run.events, kEvent)},
          {"transfers", list_to_json(run.transfers, kTransfer)},
          {"memory", list_to_json(run.memory, kSample)},
          {"terms", terms},
          {"not_finite", run.not_finite}};
}

StageRun run_from_json(const Json& json) {
  StageRun run = list_from_json<StageRun>(json.at("numbers"), kNumbers).front();
  run.events = list_from_json<TraceEvent>(json.at("events"), kEvent);
  run.transfers = list_from_json<TransferEvent>(json.at("transfers"), kTransfer);
  run.memory = list_from_json<MemorySample>(json.at("memory"), kSample);
  for (const Json& sequence : json.at("terms")) run.terms.push_back(values<double>(sequence));
  run.not_finite = json.at("not_finite").get<std::string>();
  return run;
}

}  // namespace

std::string to_bytes(const Json& message) {
  std::string bytes;
  Json::to_cbor(message, bytes);
  return bytes;
}

Json from_bytes(const std::string& bytes) {
  Json json = Json::from_cbor(bytes, /*strict=*/true, /*allow_exceptions=*/false);
  if (!json.is_object())
    throw RunError(kHere, "found what is none", "expected one of this program");
  return json;
}

Json command_to_json(const Command& command, bool with_tokens) {
  Json json = {{"command", name_of(command)}};
  if (const auto* run = std::get_if<RunStep>(&command)) {
    json["plan"] = plan_to_json(run->input->plan);
    if (with_tokens) json["batch"] = batch_to_json(run->input->batch);
  } else if (const auto* update = std::get_if<OptimizerStep>(&command)) {
    json["step"] = update->step;
  } else if (const auto* text = std::get_if<NextLogits>(&command)) {
    json["tokens"] = text->tokens;
    json["last"] = text->last;
    json["begin"] = text->begin;
    json["goes_on"] = text->goes_on;
  }
  return json;
}

Command command_from_json(const Json& json) {
  const auto name = json.at("command").get<std::string>();
  if (name == name_of(RunStep{})) {
    Plan plan = plan_from_json(json.at("plan"), kHere);
    require_valid(plan);
    Batch batch;
    if (json.contains("batch")) batch = batch_from_json(json.at("batch"), plan.sequences);
    auto owned = std::make_shared<const OwnedInput>(std::move(plan), std::move(batch));
    return RunStep{std::shared_ptr<const StepInput>(owned, &owned->input)};
  }
  if (name == name_of(OptimizerStep{})) return OptimizerStep{json.at("step").get<int>()};
  if (name == name_of(NextLogits{})) {
    return NextLogits{json.at("tokens").get<std::vector<std::int64_t>>(),
                      json.at("last").get<Tokens>(), json.at("begin").get<Tokens>(),
                      json.at("goes_on").get<bool>()};
  }
  for (const Command& plain : {Command(ZeroGrad{}), Command(StateChanged{}), Command(ForgetText{})})
    if (name == name_of(plain)) return plain;
  throw RunError(kHere, "found the command '" + name + "'", "expected one of this program");
}

Json reply_to_json(const Reply& reply) {
  if (const auto* run = std::get_if<StageRun>(&reply)) return {{"run", run_to_json(*run)}};
  if (const auto* update = std::get_if<StageExecutor::Update>(&reply)) {
    return {{"update",
             {{"numbers", binary(std::vector<double>{update->grad_norm, update->lr})},
              {"skipped", update->skipped},
              {"not_finite", update->not_finite}}}};
  }
  if (const auto* tensor = std::get_if<at::Tensor>(&reply))
    return {{"tensor", tensor_to_json(*tensor)}};
  return Json::object();
}

Reply reply_from_json(const Json& json) {
  if (json.contains("run")) return run_from_json(json.at("run"));
  if (json.contains("update")) {
    const Json& update = json.at("update");
    const auto numbers = values<double>(update.at("numbers"));
    return StageExecutor::Update{numbers.at(0), numbers.at(1), update.at("skipped").get<bool>(),
                                 update.at("not_finite").get<std::string>()};
  }
  if (json.contains("tensor")) return tensor_from_json(json.at("tensor"));
  return {};
}

// What a configuration has too travels as its keys do in a checkpoint's manifest, and is made of
// them by the same function.
Json options_to_json(const EngineOptions& options) {
  TrainConfig config;
  config.data.max_sequence_length = options.longest;
  config.training.dtype = options.dtype;
  config.training.seed = options.seed;
  config.training.only = options.only;
  config.training.steps = options.total_steps;
  config.optimizer = options.optimizer;
  config.parallelism.data_parallel = options.replicas;
  config.parallelism.sequence_parallel = options.shards;
  config.runtime.device = options.device;
  config.runtime.threads_per_stage = options.threads_per_stage;
  config.runtime.pooled_allocator = options.pooled_allocator;
  config.runtime.direct_copies = options.direct_copies;
  if (options.nccl) config.runtime.communicator = CommunicatorKind::kNccl;
  Json keys = Json::object();
  for (const ConfigKey& key : config_keys())
    if (key.main_section() != "model") keys[key.name] = key.get(config);
  Json stages = Json::array();
  for (const LayerRange& range : options.stages) stages.push_back({range.begin, range.end});
  return {{"model", model_to_json(options.model)},
          {"config", keys},
          {"stages", stages},
          {"check_messages", options.check_messages},
          {"time_parts", options.time_parts},
          {"check_finite", options.check_finite},
          {"head_block_tokens", options.head_block_tokens}};
}

EngineOptions options_from_json(const Json& json) {
  TrainConfig config;
  ConfigValues keys;
  for (const auto& [key, value] : json.at("config").items())
    keys.emplace_back(key, value.get<std::string>());
  set_configs(config, keys, kHere);
  config.model = model_from_json(JsonView(json.at("model"), kHere));
  EngineOptions options = engine_options_of(config);
  for (const Json& range : json.at("stages"))
    options.stages.push_back({range.at(0).get<int>(), range.at(1).get<int>()});
  options.check_messages = json.at("check_messages").get<bool>();
  options.time_parts = json.at("time_parts").get<bool>();
  options.check_finite = json.at("check_finite").get<bool>();
  options.head_block_tokens = json.at("head_block_tokens").get<Tokens>();
  return options;
}

}  // namespace infinipipe::wire

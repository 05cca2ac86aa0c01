#include "trainer/checkpoint_state.h"

#include <array>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/hash.h"
#include "data/model_folder.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/steady_file.h"
#include "trainer/weights.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstMoment = "exp_avg.";
constexpr std::string_view kSecondMoment = "exp_avg_sq.";
constexpr std::string_view kWeightsStem = "model";
constexpr std::string_view kMomentsStem = "optimizer";
constexpr std::string_view kSuffix = ".safetensors";

// A logical tensor and where its values are.
struct Named {
  std::string name;
  at::Tensor tensor;
};

// The logical tensors of this process's ranks. A tied copy is none: the tensor stands under its own name.
std::vector<LocalRanks::StateTensor> logical(LocalRanks& ranks) {
  std::vector<LocalRanks::StateTensor> all;
  for (const auto& state : ranks.state())
    if (!state.parameter->tied_copy) all.push_back(state);
  return all;
}

std::vector<Named> weights_of(LocalRanks& ranks) {
  std::vector<Named> weights;
  for (const auto& state : logical(ranks))
    weights.push_back({state.parameter->name, state.parameter->master});
  return weights;
}

std::vector<Named> moments_of(LocalRanks& ranks) {
  std::vector<Named> moments;
  for (const auto& state : logical(ranks)) {
    moments.push_back({std::string(kFirstMoment) + state.parameter->name, state.exp_avg});
    moments.push_back({std::string(kSecondMoment) + state.parameter->name, state.exp_avg_sq});
  }
  return moments;
}

std::string file_name(std::string_view stem, const ProcessPlace& place) {
  if (place.count == 1) return std::string(stem) + std::string(kSuffix);
  std::array<char, 40> part{};
  std::snprintf(part.data(), part.size(), "-%05d-of-%05d", place.index + 1, place.count);
  return std::string(stem) + part.data() + std::string(kSuffix);
}

CheckpointFile write_tensors(const std::string& folder, const std::string& file,
                             const std::vector<Named>& tensors) {
  std::vector<TensorInfo> infos;
  for (const Named& named : tensors) {
    infos.push_back(
        {named.name, row_of(named.tensor.scalar_type()).stored, named.tensor.sizes().vec()});
  }
  const std::string path = folder + "/" + file;
  SafetensorsWriter writer(path, infos, {{"format", "pt"}});
  for (const Named& named : tensors) {
    const at::Tensor values = named.tensor.detach().cpu().contiguous();
    writer.write_tensor(named.name, {static_cast<const std::byte*>(values.const_data_ptr()),
                                     static_cast<std::size_t>(values.nbytes())});
  }
  const std::string hash = writer.finish();
  return {file, hash, fs::file_size(path)};
}

CheckpointFile file_from_json(const Json& json) {
  return {json.at("name").get<std::string>(), json.at("hash").get<std::string>(),
          json.at("bytes").get<std::uint64_t>()};
}

Json write_part(LocalRanks& ranks, const ProcessPlace& place, const Json& arguments) {
  const auto folder = arguments.at("folder").get<std::string>();
  if (!fs::is_directory(folder)) {
    throw RunError(folder, "is not there on this host",
                   "expected the folder that the first rank has made",
                   "set checkpoint.path to a folder that all hosts share");
  }
  return {to_json(write_tensors(folder, weights_file(place), weights_of(ranks))),
          to_json(write_tensors(folder, moments_file(place), moments_of(ranks)))};
}
constexpr ProcessJob kWriteState{"write_state", &write_part};

Json find_part_not_finite(LocalRanks& ranks, const ProcessPlace&, const Json&) {
  for (const std::vector<Named>& tensors : {weights_of(ranks), moments_of(ranks)}) {
    for (const Named& named : tensors)
      if (!all_finite(named.tensor)) return named.name;
  }
  return "";
}
constexpr ProcessJob kFindNotFinite{"find_not_finite", &find_part_not_finite};

// A moment, which is never rounded.
at::Tensor read_moment(const TensorFiles& files, const std::string& name, const at::Tensor& like) {
  const auto& [file, stored] = files.at(name, "expected the optimizer's moments of each weight");
  const char* const expected = row_of(like.scalar_type()).stored;
  if (stored->info.dtype != expected) {
    throw InputError(file->path() + ": " + name, "found " + stored->info.dtype,
                     std::string("expected ") + expected,
                     "load it into the model it was saved from");
  }
  return read_weight(*file, *stored, like);
}

// Reads the tensors of this process's ranks and lets the ranks keep the values until all processes have
// theirs. Returns the weights' names.
Json read_from(LocalRanks& ranks, const TensorFiles& weights, const TensorFiles* moments) {
  Json names = Json::array();
  ranks.forget_values();
  for (const auto& state : logical(ranks)) {
    const std::string& name = state.parameter->name;
    names.push_back(name);
    const auto& [file, stored] = weights.at(name, "expected the weights of the whole model");
    const at::Tensor& master = state.parameter->master;
    ranks.keep_value(master, read_weight(*file, *stored, master));
    if (moments == nullptr) continue;
    ranks.keep_value(state.exp_avg,
                     read_moment(*moments, std::string(kFirstMoment) + name, state.exp_avg));
    ranks.keep_value(state.exp_avg_sq,
                     read_moment(*moments, std::string(kSecondMoment) + name, state.exp_avg_sq));
  }
  return names;
}

std::unique_ptr<const SafetensorsFile> open_again(const std::string& folder,
                                                  const CheckpointFile& file) {
  auto steady = std::make_shared<const SteadyFile>(folder + "/" + file.name);
  if (steady->size() != file.bytes || hash_file(*steady) != file.hash) {
    throw RunError(steady->path(), "is not what the first rank has found",
                   "expected the same file on every host");
  }
  return std::make_unique<const SafetensorsFile>(std::move(steady));
}

Json read_part(LocalRanks& ranks, const ProcessPlace&, const Json& arguments) {
  const auto folder = arguments.at("folder").get<std::string>();
  TensorFiles weights(folder);
  TensorFiles moments(folder);
  for (const Json& each : arguments.at("files")) {
    const CheckpointFile file = file_from_json(each);
    TensorFiles& into = state_file_kind(file.name) == StateFile::kWeights ? weights : moments;
    into.add(open_again(folder, file));
  }
  return read_from(ranks, weights, moments.files().empty() ? nullptr : &moments);
}
constexpr ProcessJob kReadState{"read_state", &read_part};

Json take_part(LocalRanks& ranks, const ProcessPlace&, const Json&) {
  ranks.take_values();
  return nullptr;
}
constexpr ProcessJob kTakeState{"take_state", &take_part};

// Other programs find several files by the index alone.
CheckpointFile write_index(const std::string& folder, const std::vector<CheckpointFile>& files) {
  std::vector<std::pair<std::string, std::vector<TensorInfo>>> shards;
  for (const CheckpointFile& file : files) {
    if (state_file_kind(file.name) != StateFile::kWeights) continue;
    const SafetensorsFile open(folder + "/" + file.name);
    auto& [name, tensors] = shards.emplace_back();
    name = file.name;
    for (const StoredTensor& stored : open.tensors()) tensors.push_back(stored.info);
  }
  const std::string content = safetensors_index(shards).dump(2) + "\n";
  write_file(folder + "/" + kModelIndexFile, content);
  return {kModelIndexFile, hash_hex(content), content.size()};
}

}  // namespace

Json to_json(const CheckpointFile& file) {
  return {{"name", file.name}, {"hash", file.hash}, {"bytes", file.bytes}};
}

std::string weights_file(const ProcessPlace& place) { return file_name(kWeightsStem, place); }
std::string moments_file(const ProcessPlace& place) { return file_name(kMomentsStem, place); }

StateFile state_file_kind(const std::string& name) {
  const auto is_part = [&](std::string_view stem) {
    if (!name.starts_with(stem) || !name.ends_with(kSuffix)) return false;
    const std::string middle =
        name.substr(stem.size(), name.size() - stem.size() - kSuffix.size());
    if (middle.empty()) return true;
    int index = 0;
    int count = 0;
    std::array<char, 2> rest{};
    return std::sscanf(middle.c_str(), "-%5d-of-%5d%1s", &index, &count, rest.data()) == 2 &&
           index >= 1 && index <= count && file_name(stem, {index - 1, count}) == name;
  };
  if (is_part(kWeightsStem)) return StateFile::kWeights;
  return is_part(kMomentsStem) ? StateFile::kMoments : StateFile::kNone;
}

std::vector<CheckpointFile> write_state(Engine& engine, const std::string& folder) {
  std::vector<CheckpointFile> files;
  for (const Json& part :
       engine.on_each_process(kWriteState, {{"folder", fs::absolute(folder).string()}}))
    for (const Json& file : part) files.push_back(file_from_json(file));
  if (files.size() > 2) files.push_back(write_index(folder, files));
  return files;
}

std::string find_not_finite(Engine& engine) {
  for (const Json& name : engine.on_each_process(kFindNotFinite, Json::object()))
    if (name != "") return name.get<std::string>();
  return {};
}

void read_state(Engine& engine, const StateFiles& state) {
  Json files = Json::array();
  for (const CheckpointFile& file : state.files) {
    const StateFile kind = state_file_kind(file.name);
    if (kind == StateFile::kWeights || (kind == StateFile::kMoments && state.moments != nullptr))
      files.push_back(to_json(file));
  }
  // This process reads the files that are open: what is loaded is what was checked.
  const std::vector<Json> parts = engine.on_each_process(
      kReadState, {{"folder", fs::absolute(state.folder).string()}, {"files", files}},
      [&](LocalRanks& ranks) { return read_from(ranks, *state.weights, state.moments.get()); });
  std::set<std::string> used;
  for (const Json& names : parts)
    for (const Json& name : names) used.insert(name.get<std::string>());
  for (const auto& [name, place] : state.weights->places()) {
    if (used.contains(name)) continue;
    throw InputError(place.file->path(), "tensor " + name + " is not in the model",
                     "expected the model it was saved from");
  }
  engine.on_each_process(kTakeState, Json::object());
  engine.state_changed();
}

const char* state_dtype(Engine& engine) {
  return row_of(engine.state().front().parameter->master.scalar_type()).name;
}

std::vector<const ProcessJob*> checkpoint_jobs() {
  return {&kWriteState, &kFindNotFinite, &kReadState, &kTakeState};
}

}  // namespace infinipipe

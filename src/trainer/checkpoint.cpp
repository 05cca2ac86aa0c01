#include "trainer/checkpoint.h"

#include <ATen/ops/_to_copy.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/base/file.h"
#include "infinipipe/base/hash.h"
#include "infinipipe/data/safetensors.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kLatestFile = "latest";
constexpr std::string_view kFirstMoment = "exp_avg.";
constexpr std::string_view kSecondMoment = "exp_avg_sq.";

const char* safetensors_dtype(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? "F64" : "F32";
}

// A logical tensor and where its values are.
struct Named {
  std::string name;
  at::Tensor tensor;
};

// Tied copies of one tensor on several stages count once.
void add_once(std::vector<Named>& tensors, std::string name, const at::Tensor& tensor) {
  const auto same = [&name](const Named& other) { return other.name == name; };
  if (std::none_of(tensors.begin(), tensors.end(), same)) {
    tensors.push_back({std::move(name), tensor});
  }
}

// Returns the file's entry for the manifest.
Json write_tensors(const std::string& folder, const char* file, const std::vector<Named>& tensors) {
  std::vector<TensorInfo> infos;
  for (const Named& named : tensors) {
    infos.push_back({named.name, safetensors_dtype(named.tensor), named.tensor.sizes().vec()});
  }
  const std::string path = folder + "/" + file;
  SafetensorsWriter writer(path, infos, {{"format", "pt"}});
  for (const Named& named : tensors) {
    const at::Tensor values = named.tensor.detach().cpu().contiguous();
    writer.write_tensor(named.name, {static_cast<const std::byte*>(values.const_data_ptr()),
                                     static_cast<std::size_t>(values.nbytes())});
  }
  const std::string hash = writer.finish();
  return {{"name", file}, {"hash", hash}, {"bytes", fs::file_size(path)}};
}

std::string step_name(int step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

bool is_step_name(const std::string& name) {
  return name.size() >= 11 && name.starts_with("step-") &&
         std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Step folders under `path`, newest first.
std::vector<std::string> step_folders(const std::string& path) {
  std::vector<std::pair<long long, std::string>> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && is_step_name(name) && name.size() < 24) {
      found.emplace_back(std::stoll(name.substr(5)), entry.path().string());
    }
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> folders;
  for (auto& [step, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

void remove_old(const std::string& path, const std::string& newest, int keep) {
  int kept = 0;
  for (const std::string& folder : step_folders(path)) {
    if (folder == newest || ++kept < std::max(1, keep)) continue;
    std::error_code ignored;  // a folder that cannot be removed harms nothing
    fs::remove(folder + "/" + kManifestFile, ignored);  // from now on it is no checkpoint
    fs::remove_all(folder, ignored);
  }
}

// Reads and checks one step's folder. Throws InputError naming the file that is not whole.
CheckpointInfo open_checkpoint(const std::string& folder) {
  const std::string manifest_path = folder + "/" + kManifestFile;
  const Json json = read_json_file(manifest_path);
  const JsonView manifest(json, manifest_path);
  check_format(manifest, "infinipipe.checkpoint");
  std::map<std::string, bool> files = {{kModelFile, false}, {kOptimizerFile, false}};
  manifest.at("files").for_each([&](const JsonView& entry) {
    const std::string name = entry.at("name").string();
    const auto known = files.find(name);
    if (known == files.end()) entry.at("name").fail("model.safetensors or optimizer.safetensors");
    const MappedFile file(folder + "/" + name);
    const std::string expected = entry.at("hash").string();
    const std::string found = hash_hex(file.bytes().data(), file.bytes().size());
    if (found != expected) {
      throw InputError(folder + "/" + name, "checksum is " + found, "expected " + expected,
                       "the file is damaged; use another checkpoint");
    }
    known->second = true;
  });
  for (const auto& [name, present] : files) {
    if (!present) manifest.at("files").fail("no entry for " + name, "one for each file");
  }
  CheckpointInfo info;
  info.folder = folder;
  info.next_step = static_cast<int>(manifest.at("next_step").integer(0, 1LL << 30));
  for (const auto& [key, value] : manifest.at("config").json().items()) {
    set_config(info.config, key, JsonView(value, manifest_path, "config." + key).string(),
               manifest_path);
  }
  info.sampler = manifest.at("sampler").json();
  return info;
}

// One tensor of a file, as a tensor of its own.
at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name,
                       const at::Tensor& like) {
  const TensorBytes& stored = file.at(name);
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw InputError(file.path() + ": " + name, "found " + found, "expected " + expected,
                     "load it into the model it was saved from");
  };
  if (stored.info.dtype != safetensors_dtype(like)) {
    fail(stored.info.dtype, safetensors_dtype(like));
  }
  if (stored.info.shape != like.sizes().vec()) {
    const auto shown = [](const std::vector<std::int64_t>& shape) {
      std::string text = "[";
      for (const std::int64_t size : shape) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(size);
      }
      return text + "]";
    };
    fail("shape " + shown(stored.info.shape), shown(like.sizes().vec()));
  }
  at::Tensor values = at::empty(like.sizes(), like.options().device(at::kCPU));
  if (!stored.bytes.empty()) {
    std::memcpy(values.mutable_data_ptr(), stored.bytes.data(), stored.bytes.size());
  }
  return values;
}

}  // namespace

std::string save_checkpoint(Engine& engine, const TrainConfig& config, int next_step,
                            const Json& sampler) {
  const std::string& path = config.checkpoint.path;
  make_folder(path);
  const std::string name = step_name(next_step);
  const std::string folder = path + "/" + name;
  const std::string temporary = path + "/tmp-" + name;
  std::error_code ignored;
  fs::remove_all(temporary, ignored);  // of a run that died while saving
  make_folder(temporary);

  std::vector<Named> weights;
  std::vector<Named> moments;
  for (const Engine::StateTensor& state : engine.state()) {
    const std::string& tensor = state.parameter->name;
    add_once(weights, tensor, state.parameter->master);
    add_once(moments, std::string(kFirstMoment) + tensor, state.exp_avg);
    add_once(moments, std::string(kSecondMoment) + tensor, state.exp_avg_sq);
  }
  Json files = Json::array();
  files.push_back(write_tensors(temporary, kModelFile, weights));
  files.push_back(write_tensors(temporary, kOptimizerFile, moments));

  Json values = Json::object();
  for (const ConfigKey& key : config_keys()) values[key.name] = key.get(config);
  const Json manifest = {{"format", "infinipipe.checkpoint"},
                         {"version", 1},
                         {"next_step", next_step},
                         {"model", model_to_json(config.model)},
                         {"config", values},
                         {"sampler", sampler},
                         {"files", files}};
  write_file(temporary + "/" + kManifestFile, manifest.dump(1) + "\n");
  if (fs::exists(folder)) fs::remove_all(folder);  // the same step saved before a resume
  std::error_code error;
  fs::rename(temporary, folder, error);
  if (error) throw RunError(folder, "cannot be renamed into place: " + error.message());
  sync_path(path);
  write_file(path + "/" + kLatestFile, name + "\n");
  remove_old(path, folder, config.checkpoint.keep);
  return folder;
}

CheckpointInfo find_checkpoint(const std::string& path, std::vector<std::string>* notes) {
  if (fs::exists(path + "/" + kManifestFile)) return open_checkpoint(path);
  if (!fs::is_directory(path)) {
    throw InputError(path, "no checkpoint folder", "expected one",
                     "train with --checkpoint.path first");
  }
  std::string first_problem;
  for (const std::string& folder : step_folders(path)) {
    try {
      return open_checkpoint(folder);
    } catch (const InputError& error) {
      if (notes != nullptr) notes->push_back("passed over " + folder + ": " + error.what());
      if (first_problem.empty()) first_problem = error.what();
    }
  }
  throw InputError(path, "no checkpoint that is whole" +
                             (first_problem.empty() ? "" : " (" + first_problem + ")"),
                   "expected a step-... folder with a manifest");
}

void load_checkpoint(const CheckpointInfo& info, Engine& engine, bool optimizer) {
  const SafetensorsFile model(info.folder + "/" + kModelFile);
  std::optional<SafetensorsFile> moments;
  if (optimizer) moments.emplace(info.folder + "/" + kOptimizerFile);

  std::vector<std::pair<at::Tensor, at::Tensor>> copies;  // to, from: nothing changes until all fit
  std::map<std::string, bool> used;
  for (const Engine::StateTensor& state : engine.state()) {
    const std::string& name = state.parameter->name;
    used[name] = true;
    copies.emplace_back(state.parameter->master, read_tensor(model, name, state.parameter->master));
    if (optimizer) {
      copies.emplace_back(state.exp_avg, read_tensor(*moments, std::string(kFirstMoment) + name,
                                                     state.exp_avg));
      copies.emplace_back(state.exp_avg_sq, read_tensor(*moments, std::string(kSecondMoment) + name,
                                                        state.exp_avg_sq));
    }
  }
  for (const TensorBytes& stored : model.tensors()) {
    if (!used.contains(stored.info.name)) {
      throw InputError(model.path(), "tensor " + stored.info.name + " is not in the model",
                       "expected the model it was saved from");
    }
  }
  for (auto& [to, from] : copies) to.copy_(from);
  engine.state_changed();
}

}  // namespace infinipipe

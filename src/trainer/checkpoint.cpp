#include "trainer/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/file.h"
#include "base/hash.h"
#include "base/temporary_folder.h"
#include "data/model_folder.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/steady_file.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifestFile = "manifest.json";
constexpr const char* kTemporary = "tmp-step-";
constexpr std::string_view kFromKey = "model.from";

bool is_step_name(const std::string& name) {
  return name.size() >= 11 && name.size() < 24 && name.starts_with("step-") &&
         std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

long long step_of(const std::string& folder) {
  return std::stoll(fs::path(folder).filename().string().substr(5));
}

// What is in a folder; others may change it meanwhile.
std::vector<fs::path> entries(const std::string& path) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    all.push_back(entry->path());
  }
  return all;
}

// Step folders under `path`, newest first.
std::vector<std::string> step_folders(const std::string& path) {
  std::vector<std::pair<long long, std::string>> found;
  for (const fs::path& entry : entries(path)) {
    std::error_code gone;
    if (is_step_name(entry.filename().string()) && fs::is_directory(entry, gone)) {
      found.emplace_back(step_of(entry.string()), entry.string());
    }
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> folders;
  for (auto& [step, folder] : found) folders.push_back(std::move(folder));
  return folders;
}

// A step's manifest, as it was written. Throws InputError.
Json read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifestFile;
  std::error_code absent;
  if (fs::exists(path, absent) &&
      !fs::is_regular_file(path, absent)) {  // a pipe would be waited for
    throw InputError(path, "is no regular file", "expected a checkpoint's manifest");
  }
  Json json = read_json_file(path);
  const JsonView manifest(json, path);
  check_format(manifest, "infinipipe.checkpoint");
  if (!manifest.has("hash")) return json;  // not in older ones
  const std::string expected = manifest.at("hash").string();
  Json hashed = json;
  hashed.erase("hash");
  if (hash_json(hashed) != expected) {
    throw InputError(path, "its content does not have the hash that it names",
                     "expected the file as it was written",
                     "the file is damaged; use another checkpoint");
  }
  return json;
}

// The id of the run that a manifest names: empty in older ones.
std::string run_in(const Json& json, const std::string& folder) {
  const JsonView manifest(json, folder);
  return manifest.has("run") ? manifest.at("run").at("id").string() : std::string();
}

// The same of a step's folder: nothing where it cannot be read.
std::optional<std::string> run_of(const std::string& folder) {
  try {
    return run_in(read_manifest(folder), folder);
  } catch (const InputError&) {
    return std::nullopt;
  }
}

void remove_folder(const std::string& folder) {
  std::error_code ignored;  // a folder that cannot be removed harms nothing
  fs::remove(folder + "/" + kManifestFile, ignored);  // from now on it is no checkpoint
  fs::remove_all(folder, ignored);
}

// Removes what is older than the `keep` newest of a run up to `newest`.
void remove_old(const std::string& path, const std::string& newest, int keep,
                const Rotation& rotation) {
  const std::optional<std::string> run = run_of(newest);
  int kept = 0;
  for (const std::string& folder : step_folders(path)) {
    const std::optional<std::string> its = folder == newest ? run : run_of(folder);
    if (its != run) {
      if (rotation.remove_others) remove_folder(folder);
      continue;
    }
    if (step_of(folder) > step_of(newest) || ++kept <= std::max(1, keep)) continue;
    if (folder != rotation.keep_too) remove_folder(folder);
  }
}

// The folder that `latest` names; empty where there is none, or it says nothing that makes sense:
// then `problem` says which.
std::string latest_folder(const std::string& path, std::string& problem) {
  const std::string file = path + "/" + kLatestFile;
  std::error_code absent;
  if (!fs::is_regular_file(file, absent)) {
    problem = file + " is missing";
    return {};
  }
  std::string name;
  try {
    name = read_latest(path);
  } catch (const InputError& error) {  // a hint, no more
    problem = error.what();
    return {};
  }
  if (is_step_name(name)) return path + "/" + name;
  problem = file + " names no step-... folder";
  return {};
}

void require_hash(const SteadyFile& file, const std::string& expected) {
  const std::string found = hash_file(file);
  if (found == expected) return;
  throw InputError(file.path(), "checksum is " + found, "expected " + expected,
                   "the file is damaged; use another checkpoint");
}

// The files beside the weights, checked like these. Older checkpoints have none.
Companions open_companions(const std::string& folder, const JsonView& manifest) {
  Companions companions;
  if (!manifest.has("companions")) return companions;
  const JsonView found = manifest.at("companions");
  companions.config = found.at("config").json();
  if (!companions.config.is_object()) found.at("config").fail("an object");
  companions.dtype = found.at("dtype").string();
  found.at("files").for_each([&](const JsonView& entry) {
    const std::string name = entry.at("name").string();
    if (name != kModelConfigFile && !is_companion(name)) entry.at("name").fail("a known name");
    const SteadyFile file(folder + "/" + name);
    require_hash(file, entry.at("hash").string());
    if (name == kModelConfigFile) return;  // made of the manifest
    std::string content(file.size(), '\0');
    file.read(0, std::as_writable_bytes(std::span(content)));
    companions.files.emplace(name, std::move(content));
  });
  return companions;
}

// Writes them, and the config.json that belongs to weights of that dtype; returns the manifest's
// part.
Json write_companions(const std::string& folder, const TrainConfig& config,
                      const Companions& companions, const std::string& dtype) {
  Json files = Json::array();
  const auto write = [&](const std::string& name, const std::string& content) {
    write_file(folder + "/" + name, content);
    files.push_back({{"name", name}, {"hash", hash_hex(content)}, {"bytes", content.size()}});
  };
  write(kModelConfigFile, hugging_face_config(config, companions, dtype).dump(2) + "\n");
  for (const auto& [name, content] : companions.files) write(name, content);
  return {{"config", companions.config}, {"dtype", companions.dtype}, {"files", files}};
}

// The files with weights and moments, open, each found to have the hash that is listed.
StateFiles open_state(const std::string& folder, const JsonView& listed) {
  StateFiles state;
  state.folder = folder;
  const auto weights = std::make_shared<TensorFiles>(folder);
  const auto moments = std::make_shared<TensorFiles>(folder);
  listed.for_each([&](const JsonView& entry) {
    const std::string name = entry.at("name").string();
    const StateFile kind = state_file_kind(name);
    if (kind == StateFile::kNone && name != kModelIndexFile)
      entry.at("name").fail("a file with weights or moments");
    auto file = std::make_shared<const SteadyFile>(folder + "/" + name);
    require_hash(*file, entry.at("hash").string());
    state.files.push_back({name, entry.at("hash").string(), file->size()});
    if (kind == StateFile::kNone) return;
    (kind == StateFile::kWeights ? weights : moments)
        ->add(std::make_unique<const SafetensorsFile>(std::move(file)));
  });
  if (!weights->files().empty()) state.weights = weights;
  if (!moments->files().empty()) state.moments = moments;
  return state;
}

// Checks one step's folder, whose manifest has been read. Throws InputError naming the file that is
// not whole.
CheckpointInfo open_checkpoint(const std::string& folder, const Json& json) {
  const std::string manifest_path = folder + "/" + kManifestFile;
  const JsonView manifest(json, manifest_path);
  run_in(json, folder);  // a run without a name would be found out only later
  CheckpointInfo info;
  info.folder = folder;
  info.state = open_state(folder, manifest.at("files"));
  info.next_step = static_cast<int>(manifest.at("next_step").integer(0, 1LL << 30));
  // Weights alone are what an import makes, before any step.
  if (info.state.weights == nullptr || (info.state.moments == nullptr && info.next_step > 0)) {
    manifest.at("files").fail(
        std::string("no entry for ") + (info.state.weights == nullptr ? "weights" : "moments"),
        "one for each file");
  }
  if (!manifest.at("config").json().is_object()) manifest.at("config").fail("an object");
  ConfigValues values;
  for (const auto& [key, value] : manifest.at("config").json().items()) {
    values.emplace_back(key, JsonView(value, manifest_path, "config." + key).string());
    // Its folder may have gone: what it gave is in the other keys.
    if (key == kFromKey) info.config.model_from = values.back().second;
  }
  set_configs(info.config, values, manifest_path);
  // How its ranks talked says nothing of the next start.
  info.config.runtime.communicator = CommunicatorKind::kAuto;
  if (info.state.moments != nullptr) {
    info.sampler = manifest.at("sampler").json();
    if (manifest.at("sampler").at("step").integer() != info.next_step) {
      manifest.at("sampler").at("step").fail("next_step, " + std::to_string(info.next_step));
    }
  }
  const auto part = [&](const char* key) {
    return manifest.has(key) ? manifest.at(key).json() : Json();
  };
  info.record = {part("planning"), part("run"), part("data"), part("tokenizer"),
                 open_companions(folder, manifest)};
  return info;
}

}  // namespace

std::string step_name(int step) {
  std::string digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

namespace {

// Writes a step's folder, whose weights and moments `write` makes, and lets `latest` name it.
// `write` is given the folder, and returns the files' entries in the manifest.
std::string write_checkpoint(const TrainConfig& config, int next_step, const Json& sampler,
                             const CheckpointRecord& record, const std::string& dtype,
                             const std::function<Json(const std::string&)>& write) {
  const std::string& path = config.checkpoint.path;
  const std::string name = step_name(next_step);
  const std::string folder = path + "/" + name;
  TemporaryFolder temporary(path + "/" + kTemporary + std::to_string(next_step));
  const Json files = write(temporary.path());
  const Json companions = write_companions(temporary.path(), config, record.companions, dtype);
  Json values = Json::object();
  for (const ConfigKey& key : config_keys()) values[key.name] = key.get(config);
  Json manifest = {
      {"format", "infinipipe.checkpoint"},    {"version", 1},      {"next_step", next_step},
      {"model", model_to_json(config.model)}, {"config", values},  {"sampler", sampler},
      {"planning", record.planning},          {"run", record.run}, {"data", record.data},
      {"tokenizer", record.tokenizer},        {"files", files},    {"companions", companions}};
  manifest["hash"] = hash_json(manifest);
  write_file(temporary.path() + "/" + kManifestFile, manifest.dump(1) + "\n");
  temporary.rename_to(folder);
  sync_path(path);
  write_file(path + "/" + kLatestFile, name + "\n");
  return folder;
}

}  // namespace

std::string save_checkpoint(Engine& engine, const TrainConfig& config, int next_step,
                            const Json& sampler, const CheckpointRecord& record,
                            const Rotation& rotation) {
  const std::string& path = config.checkpoint.path;
  make_folder(path);
  const std::string future = path + "/" + step_name(next_step);
  std::string folder = write_checkpoint(
      config, next_step, sampler, record, state_dtype(engine), [&](const std::string& into) {
        Json files = Json::array();
        for (const CheckpointFile& file : write_state(engine, into, future))
          files.push_back(to_json(file));
        return files;
      });
  remove_old(path, folder, config.checkpoint.keep, rotation);
  return folder;
}

std::string save_weights(const TrainConfig& config, const CheckpointRecord& record,
                         const std::string& dtype,
                         const std::function<std::string(const std::string&)>& write) {
  return write_checkpoint(config, 0, nullptr, record, dtype, [&](const std::string& into) {
    const std::string file = into + "/" + kModelWeightsFile;
    const std::string hash = write(file);
    return Json::array({to_json(CheckpointFile{kModelWeightsFile, hash, fs::file_size(file)})});
  });
}

Bytes checkpoint_bytes(const TrainConfig& config) {
  const double width = config.training.dtype == Dtype::kFloat64 ? 8.0 : 4.0;
  return 3.0 * width * static_cast<double>(config.model.parameters());
}

void remove_half_written(const std::string& path) {
  const std::string latest = std::string(kLatestFile) + ".tmp.";
  for (const fs::path& entry : entries(path)) {
    const std::string name = entry.filename().string();
    if (!name.starts_with(kTemporary) && !name.starts_with(latest)) continue;
    std::error_code ignored;
    fs::remove_all(entry, ignored);
  }
}

void require_folder_of_checkpoints(const std::string& path) {
  if (!fs::exists(path + "/" + kManifestFile)) return;
  throw InputError("config: checkpoint.path", "found one step's checkpoint, " + path,
                   "expected the folder of all",
                   "give the folder around it; what its file `latest` names is resumed from");
}

std::optional<int> latest_step(const std::string& path) {
  std::string problem;
  const std::string folder = latest_folder(path, problem);
  if (folder.empty()) return std::nullopt;
  return static_cast<int>(std::min(step_of(folder), 1LL << 30));
}

bool has_checkpoints(const std::string& path) {
  return !path.empty() && fs::is_directory(path) && !step_folders(path).empty();
}

CheckpointInfo find_checkpoint(const std::string& path, std::vector<std::string>* notes) {
  if (fs::exists(path + "/" + kManifestFile)) return open_checkpoint(path, read_manifest(path));
  if (!fs::is_directory(path)) {
    throw InputError(path, "no checkpoint folder", "expected one",
                     "train with --checkpoint.path first");
  }
  std::vector<std::string> folders = step_folders(path);
  std::optional<std::string> run;  // only its checkpoints stand for each other
  std::string problem;
  if (const std::string latest = latest_folder(path, problem); !latest.empty()) {
    std::erase_if(folders, [&](const auto& each) { return step_of(each) >= step_of(latest); });
    if (fs::is_directory(latest)) {
      folders.insert(folders.begin(), latest);
    } else {
      problem = path + "/" + kLatestFile + " names " + fs::path(latest).filename().string() +
                ", which is not there";
    }
  }
  if (notes != nullptr && !problem.empty() && !folders.empty()) {
    notes->push_back(problem + "; the newest checkpoint before it is looked for");
  }
  std::string first_problem;
  for (const std::string& folder : folders) {
    try {
      const Json manifest = read_manifest(folder);
      const std::string its = run_in(manifest, folder);
      if (!run) run = its;
      if (its == run) return open_checkpoint(folder, manifest);
    } catch (const Error& error) {  // a disk that cannot be read is no better than a damaged file
      if (notes != nullptr) notes->push_back("passed over " + folder + ": " + error.what());
      if (first_problem.empty()) first_problem = error.what();
    }
  }
  throw InputError(
      path,
      "no checkpoint that is whole" + (first_problem.empty() ? "" : " (" + first_problem + ")"),
      "expected a step-... folder with a manifest");
}

void load_checkpoint(const CheckpointInfo& info, Engine& engine, bool optimizer) {
  StateFiles state = info.state;
  if (!optimizer) state.moments = nullptr;
  read_state(engine, state);
}

}  // namespace infinipipe

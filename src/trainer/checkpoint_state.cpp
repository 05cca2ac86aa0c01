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
#include "base/temporary_folder.h"
#include "data/model_folder.h"
#include "dist/ranks.h"
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
// Of a name that is removed at the next start where a process dies with it.
constexpr const char* kSharedMark = "tmp-step-seen-by-all";
constexpr std::string_view kSuffix = ".safetensors";

// The logical tensors of this process's stages. A tied copy is none: the tensor stands under its
// own name, and state_changed() brings the copy in line.
std::vector<LocalRanks::StateTensor> logical(LocalRanks& ranks) {
  std::vector<LocalRanks::StateTensor> all = ranks.state();
  std::erase_if(all, [](const auto& state) { return state.parameter->tied_copy; });
  return all;
}

std::string file_name(std::string_view stem, const LocalRanks::Part& part) {
  if (part.count == 1) return std::string(stem) + std::string(kSuffix);
  std::array<char, 40> which{};
  std::snprintf(which.data(), which.size(), "-%05d-of-%05d", part.index + 1, part.count);
  return std::string(stem) + which.data() + std::string(kSuffix);
}

// Writes one file of tensors, which come one at a time, so that no more need be in one place.
class StateWriter final {
 public:
  // `names` of tensors, and what has their dtype and shape.
  StateWriter(const std::string& folder, const std::string& file,
              const std::vector<std::pair<std::string, at::Tensor>>& names)
      : path_(folder + "/" + file), file_(file), writer_(path_, infos(names), {{"format", "pt"}}) {}

  void add(const std::string& name, const at::Tensor& tensor) {
    const at::Tensor values = tensor.detach().cpu().contiguous();
    writer_.write_tensor(name, {static_cast<const std::byte*>(values.const_data_ptr()),
                                static_cast<std::size_t>(values.nbytes())});
  }

  CheckpointFile finish() {
    const std::string hash = writer_.finish();
    return {file_, hash, fs::file_size(path_)};
  }

 private:
  static std::vector<TensorInfo> infos(
      const std::vector<std::pair<std::string, at::Tensor>>& names) {
    std::vector<TensorInfo> all;
    for (const auto& [name, like] : names)
      all.push_back({name, row_of(like.scalar_type()).stored, like.sizes().vec()});
    return all;
  }

  std::string path_;
  std::string file_;
  SafetensorsWriter writer_;
};

// What one process writes. Moments are gathered from all replicas, whose processes go through all
// of them: so must this one, whatever fails on its way, and throws at the end.
class PartWriter final {
 public:
  PartWriter(LocalRanks& ranks, std::string folder)
      : ranks_(ranks), part_(ranks.part()), folder_(std::move(folder)) {}

  // {"files": [...]}, or {"not_finite": the first such tensor}.
  Json run() {
    try {
      ranks_.at("save");
    } catch (...) {
      failed_ = std::current_exception();
    }
    const std::vector<LocalRanks::StateTensor> states = logical(ranks_);
    std::vector<std::pair<std::string, at::Tensor>> weights;
    std::vector<std::pair<std::string, at::Tensor>> moments;
    for (const auto& state : states) {
      const Parameter& parameter = *state.parameter;
      weights.emplace_back(parameter.name, parameter.master);
      moments.emplace_back(std::string(kFirstMoment) + parameter.name, parameter.master);
      moments.emplace_back(std::string(kSecondMoment) + parameter.name, parameter.master);
    }
    begin(weights_file(part_), weights);
    for (const auto& [name, master] : weights) add(name, master);
    end();
    begin(moments_file(part_), moments);
    for (const auto& state : states) {
      const AdamW::Moments whole = ranks_.moments(state);
      add(std::string(kFirstMoment) + state.parameter->name, whole.exp_avg);
      add(std::string(kSecondMoment) + state.parameter->name, whole.exp_avg_sq);
    }
    end();
    if (failed_ != nullptr) std::rethrow_exception(failed_);
    if (!not_finite_.empty()) return {{"not_finite", not_finite_}};
    return {{"files", files_}};
  }

 private:
  template <class Body>
  void attempt(const Body& body) {
    if (!part_.writes || failed_ != nullptr || !not_finite_.empty()) return;
    try {
      body();
    } catch (...) {
      failed_ = std::current_exception();
    }
  }
  void begin(const std::string& file,
             const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
    attempt([&] {
      if (!fs::is_directory(folder_)) {
        throw RunError(folder_, "is not there on this host",
                       "expected the folder that the first rank has made",
                       "set checkpoint.path to a folder that all hosts share");
      }
      writer_.emplace(folder_, file, tensors);
    });
  }
  void add(const std::string& name, const at::Tensor& values) {
    attempt([&] {
      if (all_finite(values)) {
        writer_->add(name, values);
      } else {
        not_finite_ = name;
      }
    });
  }
  void end() {
    attempt([&] { files_.push_back(to_json(writer_->finish())); });
    writer_.reset();
  }

  LocalRanks& ranks_;
  LocalRanks::Part part_;
  std::string folder_;
  std::optional<StateWriter> writer_;
  Json files_ = Json::array();
  std::exception_ptr failed_;
  std::string not_finite_;
};

CheckpointFile file_from_json(const Json& json) {
  return {json.at("name").get<std::string>(), json.at("hash").get<std::string>(),
          json.at("bytes").get<std::uint64_t>()};
}

Json look_for(LocalRanks&, const Json& arguments) {
  return fs::exists(arguments.at("file").get<std::string>());
}
constexpr ProcessJob kLookFor{"look_for", &look_for};

Json write_part(LocalRanks& ranks, const Json& arguments) {
  return PartWriter(ranks, arguments.at("folder").get<std::string>()).run();
}
constexpr ProcessJob kWriteState{"save", &write_part};

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

// Reads what this process is to hand to its stages once all processes have theirs. Returns the
// weights' names.
Json read_from(LocalRanks& ranks, const TensorFiles& weights, const TensorFiles* moments) {
  Json names = Json::array();
  std::vector<at::Tensor>& kept = ranks.kept();
  kept.clear();
  if (!ranks.part().writes) return names;  // the first replica shares out
  for (const auto& state : logical(ranks)) {
    const std::string& name = state.parameter->name;
    const at::Tensor& like = state.parameter->master;
    names.push_back(name);
    const auto& [file, stored] = weights.at(name, "expected the weights of the whole model");
    kept.push_back(read_weight(*file, *stored, like));
    if (moments == nullptr) continue;
    for (const std::string_view which : {kFirstMoment, kSecondMoment})
      kept.push_back(read_moment(*moments, std::string(which) + name, like));
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

Json read_part(LocalRanks& ranks, const Json& arguments) {
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
constexpr ProcessJob kReadState{"load", &read_part};

// What read_from() has kept goes where it belongs, in the same order.
Json take_part(LocalRanks& ranks, const Json& arguments) {
  const bool moments = arguments.at("moments").get<bool>();
  auto next = ranks.kept().begin();
  for (const auto& state : logical(ranks)) {
    AdamW::Moments whole;
    if (ranks.part().writes) {
      state.parameter->master.copy_(*next++);
      if (moments) {
        whole.exp_avg = *next++;
        whole.exp_avg_sq = *next++;
      }
    }
    if (moments) ranks.set_moments(state, whole);
  }
  ranks.kept().clear();
  return nullptr;
}
constexpr ProcessJob kTakeState{"take", &take_part};

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

std::string weights_file(const LocalRanks::Part& part) { return file_name(kWeightsStem, part); }
std::string moments_file(const LocalRanks::Part& part) { return file_name(kMomentsStem, part); }

StateFile state_file_kind(const std::string& name) {
  const auto is_part = [&](std::string_view stem) {
    if (!name.starts_with(stem) || !name.ends_with(kSuffix)) return false;
    const std::string middle = name.substr(stem.size(), name.size() - stem.size() - kSuffix.size());
    if (middle.empty()) return true;
    int index = 0;
    int count = 0;
    std::array<char, 2> rest{};
    return std::sscanf(middle.c_str(), "-%5d-of-%5d%1s", &index, &count, rest.data()) == 2 &&
           index >= 1 && index <= count && file_name(stem, {index - 1, count, true}) == name;
  };
  if (is_part(kWeightsStem)) return StateFile::kWeights;
  return is_part(kMomentsStem) ? StateFile::kMoments : StateFile::kNone;
}

void require_shared_folder(Engine& engine, const std::string& folder) {
  if (engine.options().ranks == nullptr) return;
  const TemporaryFolder mark(folder + "/" + kSharedMark);
  const std::vector<Json> seen =
      engine.on_each_process(kLookFor, {{"file", fs::absolute(mark.path()).string()}});
  for (std::size_t rank = 0; rank < seen.size(); ++rank) {
    if (seen[rank].get<bool>()) continue;
    throw InputError("config: checkpoint.path",
                     folder + " is not the same folder for " +
                         engine.options().ranks->where(static_cast<int>(rank)),
                     "expected one that all hosts share", "set it to a folder on a shared disk");
  }
}

std::vector<CheckpointFile> write_state(Engine& engine, const std::string& folder,
                                        const std::string& future) {
  std::vector<CheckpointFile> files;
  for (const Json& part :
       engine.on_each_process(kWriteState, {{"folder", fs::absolute(folder).string()}})) {
    if (part.contains("not_finite")) {
      throw NotFiniteError(
          future,
          "not written: " + part["not_finite"].get<std::string>() +
              " has a value that is not finite",
          "expected finite weights and moments",
          "the run has diverged: go on from an earlier checkpoint, with a lower optimizer.lr");
    }
    for (const Json& file : part.at("files")) files.push_back(file_from_json(file));
  }
  if (files.size() > 2) files.push_back(write_index(folder, files));
  return files;
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
  engine.on_each_process(kTakeState, {{"moments", state.moments != nullptr}});
  engine.state_changed();
}

const char* state_dtype(Engine& engine) {
  return row_of(engine.state().front().parameter->master.scalar_type()).name;
}

std::vector<const ProcessJob*> checkpoint_jobs() {
  return {&kLookFor, &kWriteState, &kReadState, &kTakeState};
}

}  // namespace infinipipe

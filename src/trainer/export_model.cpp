#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/temporary_folder.h"
#include "core/names.h"
#include "data/model_folder.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/checkpoint.h"
#include "trainer/companions.h"
#include "trainer/convert.h"
#include "trainer/weights.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

// The folder must be missing or empty, and one that can be made.
void require_fresh_folder(const std::string& folder) {
  std::error_code error;
  const bool there = fs::exists(fs::symlink_status(folder, error));
  if (there && (!fs::is_directory(folder, error) || !fs::is_empty(folder, error))) {
    throw InputError(
        "export: --out",
        "found " + folder +
            (fs::is_directory(folder, error) ? ", which is not empty" : ", which is no folder"),
        "expected a folder that is new or empty", "name another one, or remove it");
  }
  const std::string parent = fs::path(folder).has_filename()
                                 ? fs::path(folder).parent_path().string()
                                 : fs::path(folder).parent_path().parent_path().string();
  require_writable_folder(parent.empty() ? "." : parent);
}

struct Shard {
  std::string name;
  std::vector<TensorInfo> tensors;
  std::uint64_t bytes = 0;
};

// All tensors, file by file as they lie there.
std::vector<StoredTensor> in_order(const TensorFiles& weights) {
  std::vector<StoredTensor> all;
  for (const auto& file : weights.files())
    all.insert(all.end(), file->tensors().begin(), file->tensors().end());
  return all;
}

// In order, each as full as the limit allows; a tensor over the limit has one of its own.
std::vector<Shard> split(const TensorFiles& weights, const char* dtype, Bytes limit) {
  std::vector<Shard> shards(1);
  for (const StoredTensor& stored : in_order(weights)) {
    TensorInfo info = stored.info;
    const std::uint64_t bytes =
        stored.bytes / tensor_dtype_width(info.dtype) * tensor_dtype_width(dtype);
    info.dtype = dtype;
    if (!shards.back().tensors.empty() && static_cast<Bytes>(shards.back().bytes + bytes) > limit) {
      shards.emplace_back();
    }
    shards.back().tensors.push_back(std::move(info));
    shards.back().bytes += bytes;
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", i + 1,
                  shards.size());
    shards[i].name = shards.size() == 1 ? kModelWeightsFile : name.data();
  }
  return shards;
}

void write_shard(const TensorFiles& weights, const Shard& shard, const std::string& folder,
                 ConversionProgress& progress) {
  SafetensorsWriter writer(folder + "/" + shard.name, shard.tensors, {{"format", "pt"}});
  for (const TensorInfo& info : shard.tensors) {
    const at::ScalarType dtype = weight_dtype(info.dtype, info.name);
    const auto& [file, stored] = weights.places().at(info.name);
    read_pieces(*file, *stored, [&, from = file](const at::Tensor& piece) {
      const at::Tensor rounded = piece.to(dtype);
      if (!all_finite(rounded)) {
        throw InputError(from->path() + ": " + info.name,
                         std::string("found a value that ") + row_of(dtype).name + " cannot hold",
                         "expected smaller ones", "use another --dtype");
      }
      writer.write({static_cast<const std::byte*>(rounded.const_data_ptr()),
                    static_cast<std::size_t>(rounded.nbytes())});
      progress.add(static_cast<Bytes>(piece.nbytes()));
    });
  }
  writer.finish();
}

Json index_of(const std::vector<Shard>& shards) {
  std::vector<std::pair<std::string, std::vector<TensorInfo>>> files;
  for (const Shard& shard : shards) files.emplace_back(shard.name, shard.tensors);
  return safetensors_index(files);
}

// What was trained in float32 from a bfloat16 model is one again.
const WeightDtype& export_dtype(const ExportOptions& options, const CheckpointInfo& checkpoint) {
  const std::string& from = checkpoint.record.companions.dtype;
  const std::string name = !options.dtype.empty() ? options.dtype
                           : !from.empty()        ? from
                                                  : to_string(checkpoint.config.training.dtype);
  if (const WeightDtype* const row = find_named(kWeightDtypes, name)) return *row;
  throw InputError("export: --dtype", "found '" + name.substr(0, 60) + "'",
                   "expected " + listed(names_of(kWeightDtypes)));
}

}  // namespace

ExportResult export_model(const ExportOptions& options) {
  if (!(options.max_shard_bytes > 0.0)) {
    throw InputError("export: --max-shard-size", "found a size that is not positive",
                     "expected bytes");
  }
  require_fresh_folder(options.out);
  std::vector<std::string> notes;
  const CheckpointInfo checkpoint = find_checkpoint(options.checkpoint, &notes);
  for (const std::string& note : notes) options.warn(note);
  const WeightDtype& dtype = export_dtype(options, checkpoint);
  const TensorFiles& weights = *checkpoint.state.weights;
  const std::vector<Shard> shards = split(weights, dtype.stored, options.max_shard_bytes);
  Bytes total = 0.0;
  for (const StoredTensor& stored : in_order(weights)) total += static_cast<Bytes>(stored.bytes);

  std::string out = options.out;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  TemporaryFolder temporary(out + ".tmp");
  ConversionProgress progress(total, options.stop, options.log);
  for (const Shard& shard : shards) write_shard(weights, shard, temporary.path(), progress);
  const Companions& companions = checkpoint.record.companions;
  write_file(temporary.path() + "/" + kModelConfigFile,
             hugging_face_config(checkpoint.config, companions, dtype.name).dump(2) + "\n");
  for (const auto& [name, content] : companions.files) {
    write_file(temporary.path() + "/" + name, content);
  }
  if (shards.size() > 1) {
    write_file(temporary.path() + "/" + kModelIndexFile, index_of(shards).dump(2) + "\n");
  }
  temporary.rename_to(out);
  ExportResult result;
  result.checkpoint = checkpoint.folder;
  result.next_step = checkpoint.next_step;
  result.dtype = dtype.name;
  result.files = static_cast<int>(shards.size());
  result.has_tokenizer =
      std::any_of(companions.files.begin(), companions.files.end(),
                  [](const auto& file) { return file.first.starts_with("tokenizer"); });
  result.tokenizer = checkpoint.config.data.tokenizer;
  return result;
}

}  // namespace infinipipe

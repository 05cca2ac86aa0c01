#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "base/file.h"
#include "core/model_tensors.h"
#include "data/model_folder.h"
#include "infinipipe/base/error.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/checkpoint.h"
#include "trainer/companions.h"
#include "trainer/convert.h"
#include "trainer/model_from.h"
#include "trainer/run_lock.h"
#include "trainer/weights.h"

namespace infinipipe {
namespace {

TrainConfig config_of(const ImportOptions& options, const ModelFolder& folder) {
  TrainConfig config;
  config.model = config.model_before = folder.model();
  if (config.model.max_position_embeddings > 0) {
    config.data.max_sequence_length = config.model.max_position_embeddings;
  }
  const std::string tokenizer = tokenizer_in(folder.path());
  if (!tokenizer.empty()) config.data.tokenizer = tokenizer;
  if (options.configure) config = options.configure(std::move(config));
  config.checkpoint.path = options.out;
  config.check();
  return config;
}

// The weights as they are, in the model's order.
std::string copy_weights(const ModelFolder& folder, const ModelSpec& model, const std::string& file,
                         const ImportOptions& options) {
  std::vector<TensorInfo> infos;
  Bytes total = 0.0;
  for (const ModelTensor& tensor : model_tensors(model)) {
    const StoredTensor& stored = *folder.at(tensor.name).tensor;
    infos.push_back(stored.info);
    total += static_cast<Bytes>(stored.bytes);
  }
  ConversionProgress progress(total, options.stop, options.log);
  SafetensorsWriter writer(file, infos, {{"format", "pt"}});
  for (const TensorInfo& info : infos) {
    const TensorFiles::Place place = folder.at(info.name);
    read_pieces(*place.file, *place.tensor, [&](const at::Tensor& piece) {
      writer.write({static_cast<const std::byte*>(piece.const_data_ptr()),
                    static_cast<std::size_t>(piece.nbytes())});
      progress.add(static_cast<Bytes>(piece.nbytes()));
    });
  }
  return writer.finish();
}

}  // namespace

ImportResult import_model(const ImportOptions& options) {
  const std::string path = model_folder(options.folder);
  const ModelFolder folder(path);
  const TrainConfig config = config_of(options, folder);
  folder.require_tensors_of(config.model);
  if (has_checkpoints(options.out) || latest_step(options.out)) {
    throw InputError("import: --out", "found checkpoints in " + options.out,
                     "expected a folder without any", "name another one");
  }
  require_folder_of_checkpoints(options.out);
  require_writable_folder(options.out);

  std::vector<std::string> unknown;
  other_config_fields(folder.config(), &unknown);
  for (const std::string& name : unknown) {
    options.warn(path + "/" + kModelConfigFile + ": " + name.substr(0, 80) +
                 " is not known here: it is kept and written again, and changes nothing");
  }
  CheckpointRecord record;
  record.companions = read_companions(path, folder.config());
  const StoredTensor& first = *folder.at(model_tensors(config.model).front().name).tensor;
  ImportResult result;
  result.model = config.model;
  result.changes = model_changes(folder.model(), config.model);
  result.dtype = record.companions.dtype =
      kWeightDtypes[require_weight_dtype(first.info.dtype, first.info.name)].name;

  make_folder(options.out);
  const RunLock lock(options.out, options.warn);
  remove_half_written(options.out);
  result.checkpoint = save_weights(config, record, result.dtype, [&](const std::string& file) {
    return copy_weights(folder, config.model, file, options);
  });
  return result;
}

}  // namespace infinipipe

// The weights and moments of a checkpoint: what each process of a run writes of them and reads.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/tensor_files.h"
#include "infinipipe/base/error.h"
#include "runtime/engine.h"

namespace infinipipe {

// A file of a checkpoint, as its manifest names it.
struct CheckpointFile {
  std::string name;
  std::string hash;  // hash_hex() of its content
  std::uint64_t bytes = 0;
};
Json to_json(const CheckpointFile& file);

// A weight or moment that is not finite: a failure of the run, not of the disk.
class NotFiniteError final : public RunError {
 public:
  using RunError::RunError;
};

// Names of the files with weights and with moments: one of each where one process writes them, and
// else "model-00002-of-00004.safetensors".
std::string weights_file(const LocalRanks::Part& part);
std::string moments_file(const LocalRanks::Part& part);
// What such a file holds.
enum class StateFile { kNone, kWeights, kMoments };
StateFile state_file_kind(const std::string& name);

// Throws InputError naming the host where a folder that this process has is not there in another
// one: before the first step, not after the last. Writes a file into it and removes that.
void require_shared_folder(Engine& engine, const std::string& folder);

// Every process writes what its ranks hold into the folder, which all must see; several also leave
// the index that other programs look for. Throws NotFiniteError, which names the tensor and
// `future`, the folder's name once it is complete; RunError for a disk that fails, and for a folder
// that is not the same one on every host. What has been written then stays.
std::vector<CheckpointFile> write_state(Engine& engine, const std::string& folder,
                                        const std::string& future);

// Every process reads what its ranks hold from the files, by name; other processes open them anew
// and see that they are what was found. Names and shapes must fit exactly, moments' dtypes too
// (weights are rounded to the engine's), and every value must be finite, or InputError names the
// tensor; nothing is changed unless everything does. `moments` may be null. Throws RunError where a
// file was changed since it was found whole.
struct StateFiles {
  std::string folder;
  std::vector<CheckpointFile> files;  // of both kinds
  std::shared_ptr<const TensorFiles> weights;
  std::shared_ptr<const TensorFiles> moments;
};
void read_state(Engine& engine, const StateFiles& state);

// The dtype of the engine's weights, "float32".
const char* state_dtype(Engine& engine);

// What serve() must know for these.
std::vector<const ProcessJob*> checkpoint_jobs();

}  // namespace infinipipe

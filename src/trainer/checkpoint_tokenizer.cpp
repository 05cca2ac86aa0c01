#include "trainer/checkpoint_tokenizer.h"

#include <filesystem>

#include "core/model_files.h"
#include "trainer/identity.h"

namespace infinipipe {

std::unique_ptr<Tokenizer> checkpoint_tokenizer(
    const TrainConfig& config, const CheckpointInfo& checkpoint,
    const std::function<void(const std::string&)>& warn) {
  std::string name = config.data.tokenizer;
  if (name != "byte" && !std::filesystem::exists(name)) {
    const std::string copy = tokenizer_in(checkpoint.folder);
    if (!copy.empty()) name = copy;
  }
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(name);
  compare_identity({}, tokenizer_identity(name), {}, checkpoint.record.tokenizer, checkpoint.folder,
                   warn);
  return tokenizer;
}

}  // namespace infinipipe

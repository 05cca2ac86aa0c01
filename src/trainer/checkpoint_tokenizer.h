// The tokenizer that a checkpoint's model speaks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "data/tokenizer.h"
#include "trainer/checkpoint.h"

namespace infinipipe {

// What `config` names; where that is no longer there, the copy that the checkpoint carries. Warns
// where it is another than the model was trained with. Throws what make_tokenizer() does.
std::unique_ptr<Tokenizer> checkpoint_tokenizer(
    const TrainConfig& config, const CheckpointInfo& checkpoint,
    const std::function<void(const std::string&)>& warn);

}  // namespace infinipipe

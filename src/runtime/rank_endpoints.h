// The communicators of an engine's ranks in this process.
#pragma once

#include <memory>
#include <vector>

#include "runtime/engine_options.h"
#include "runtime/stage_executor.h"

namespace infinipipe {

// Of all ranks where these are threads; of this process's one where options.ranks is set: then all
// processes must call it, with options of one engine.
std::vector<std::unique_ptr<TensorCommunicator>> make_endpoints(const EngineOptions& options);

}  // namespace infinipipe

// Names the code that runs a model's instructions: measured profiles are of one version of it.
#pragma once

namespace infinipipe {

// A hash of the sources of src/model and src/runtime, made by CMake.
extern const char* const kCodeVersion;

}  // namespace infinipipe

// Names the code that runs a model's instructions: measured profiles are of one version of it.
#pragma once

namespace infinipipe {

// A hash of those sources and of how they were built, made by CMake (module.cmake).
extern const char* const kCodeVersion;

}  // namespace infinipipe

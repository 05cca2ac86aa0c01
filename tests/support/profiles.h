// The machines that the project ships, for tests.
#pragma once

#include <filesystem>
#include <string>

namespace infinipipe::testing {

inline std::string profile_path(const std::string& name) {
  const std::filesystem::path tests = std::filesystem::path(INFINIPIPE_TEST_DATA).parent_path();
  return (tests.parent_path() / "profiles" / name).string();
}

}  // namespace infinipipe::testing

// A folder that is filled under a temporary name and gets its own name only when it is whole.
#pragma once

#include <string>

namespace infinipipe {

// Disappears again with all that is in it, unless it was given another name. Failures are RunErrors
// that name the folder. Not thread-safe.
class TemporaryFolder final {
 public:
  // Removes what a killed process left under that name.
  explicit TemporaryFolder(std::string path);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  // Takes the place of a folder of that name, which is then removed, in one step.
  void rename_to(const std::string& folder);

 private:
  void remove();

  std::string path_;
};

}  // namespace infinipipe

// The files below a folder, in one fixed order, without holding all their names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace infinipipe {

// Depth first, each folder's entries sorted by the bytes of their names. Links to files count as
// files, links to folders are not followed (so there are no loops), names that start with a dot are
// left out. Memory: the names of the folders on the path to the current file.
class FolderWalk final {
 public:
  // Patterns as in BuildOptions. Throws InputError if the folder cannot be listed.
  FolderWalk(const std::string& folder, std::vector<std::string> patterns);

  struct File {
    std::string path;
    std::int64_t bytes;
  };
  // The next file that fits a pattern; empty at the end. Throws InputError for a folder below that
  // cannot be listed.
  std::optional<File> next();

  std::int64_t files_seen() const { return files_seen_; }  // also those that fit no pattern
  std::int64_t skipped() const { return skipped_; }  // neither file nor folder, or a dangling link

 private:
  struct Level {
    std::string path;
    std::string relative;            // below the root, with a trailing slash; empty for the root
    std::vector<std::string> names;  // sorted downwards: the next one is at the back
  };

  void enter(std::string path, std::string relative);
  bool fits(const std::string& name, const std::string& relative) const;

  std::vector<std::string> patterns_;
  std::vector<Level> levels_;
  std::int64_t files_seen_ = 0;
  std::int64_t skipped_ = 0;
};

}  // namespace infinipipe

// The files below a folder, in one fixed order, without holding all their names.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace infinipipe {

// What a walk came across and did not give.
struct WalkCounts {
  std::int64_t files_seen = 0;  // also those that fit no pattern
  std::int64_t odd = 0;         // neither file nor folder, or a link that leads nowhere
  std::int64_t hidden = 0;      // names that start with a dot
  std::int64_t repeated = 0;    // linked folders that are read under another name
};

// Depth first, each folder's entries sorted by the bytes of their names. Links to files count as
// files. Links to folders are followed, but no folder is read twice: one that lies below a root is
// read under its own name, and one outside where it is met first; so there are no loops. Names that
// start with a dot are left out. Memory: the names of the folders on the path to the current file,
// and a few bytes for each folder outside the roots.
class FolderWalk final {
 public:
  // Patterns as in BuildOptions; `roots` are the real paths of all folders that are read, this one
  // included. Throws InputError if the folder cannot be listed.
  FolderWalk(const std::string& folder, std::vector<std::string> patterns,
             std::vector<std::string> roots);

  struct File {
    std::string path;
    std::int64_t bytes;
  };
  // The next file that fits a pattern; empty at the end. Throws InputError for a folder below that
  // cannot be listed.
  std::optional<File> next();

  const WalkCounts& counts() const { return counts_; }

 private:
  struct Level {
    std::string path;
    std::string relative;            // below the root, with a trailing slash; empty for the root
    bool outside = false;            // of the roots, or hidden there: reached by a link
    std::vector<std::string> names;  // sorted downwards: the next one is at the back
  };

  void enter(std::string path, std::string relative, bool outside);
  void enter_below(const Level& parent, std::string path, std::string relative, bool linked);
  bool is_read_by_name(const std::string& real) const;
  bool fits(const std::string& name, const std::string& relative) const;

  std::vector<std::string> patterns_;
  std::vector<std::string> roots_;
  std::vector<Level> levels_;
  std::set<std::pair<dev_t, ino_t>> visited_outside_;
  WalkCounts counts_;
};

}  // namespace infinipipe

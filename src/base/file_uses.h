// The files that a user names for a command or a run, and that none of them is overwritten by
// another.
#pragma once

#include <string>
#include <vector>

namespace infinipipe {

struct FileUse {
  std::string name;  // as people know it: "--out", "PLAN", "data.path"
  std::string path;
  bool written = false;
};

// Throws InputError naming both where one of them writes the file that the other reads or
// writes: one of the same path, or the same file by another name. What is no regular file or folder
// (/dev/null, a pipe, "-") may stand anywhere.
void require_own_outputs(const std::vector<FileUse>& uses);

}  // namespace infinipipe

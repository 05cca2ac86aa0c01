// The files that a command line names, and that none of them is overwritten by another.
#pragma once

#include <string>
#include <vector>

namespace infinipipe::cli {

struct FileUse {
  std::string flag;  // as people know it: "--out", "PLAN"
  std::string path;
  bool written = false;
};

// Throws InputError naming both flags where one of them writes the file that the other reads or
// writes: one of the same path, or the same file by another name. What is no regular file or folder
// (/dev/null, a pipe, "-") may stand anywhere.
void require_own_outputs(const std::vector<FileUse>& uses);

}  // namespace infinipipe::cli

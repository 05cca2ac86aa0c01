// Names of files that a process holds open already.
#pragma once

#include <string_view>

namespace infinipipe {

// True for /dev/stdout and the like, /dev/fd/3 and all below /proc: what stands behind such a name
// may be a regular file, which others hold open, and the name tells nothing of it. Other files
// under /dev, such as those in /dev/shm, are files like any.
inline bool names_open_file(std::string_view path) {
  return path == "/dev/stdin" || path == "/dev/stdout" || path == "/dev/stderr" ||
         path.starts_with("/dev/fd/") || path.starts_with("/proc/");
}

}  // namespace infinipipe

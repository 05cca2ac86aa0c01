// A name that one process at a time writes to.
#pragma once

#include <string>

namespace infinipipe {

// Held as long as the object lives: an empty file NAME.lock, which is locked, and removed at the
// end. The kernel lets go of the lock however the process ends; the file that a killed one leaves
// is taken over by the next. A file that is not empty is somebody else's and stays. Where files
// cannot be locked nothing is held.
class NameLock final {
 public:
  // Throws RunError naming `name` where another holds it, in this process too, and where the file
  // cannot be made.
  explicit NameLock(const std::string& name);
  ~NameLock();
  NameLock(const NameLock&) = delete;
  NameLock& operator=(const NameLock&) = delete;

 private:
  bool stands() const;

  std::string path_;
  int fd_ = -1;
};

}  // namespace infinipipe

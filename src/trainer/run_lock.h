// One process at a time trains into a folder.
#pragma once

#include <functional>
#include <string>

namespace infinipipe {

// Holds FOLDER/lock, which names its process, as long as the object lives; the kernel lets go of it
// however the process ends. The file stays.
class RunLock final {
 public:
  // The folder must exist; an empty path holds nothing. Throws InputError where another process
  // holds it. A file system without locks is said through `warn`, and done without.
  RunLock(const std::string& folder, const std::function<void(const std::string&)>& warn);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace infinipipe

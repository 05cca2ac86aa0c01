#include "base/name_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

NameLock::NameLock(const std::string& name) : path_(name + ".lock") {
  while (true) {
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    if (fd_ < 0) {
      throw RunError(name,
                     std::string("cannot be created: ") + std::strerror(errno) + " (" + path_ + ")",
                     "", "check the disk and the folder");
    }
    int failed = 0;
    do {
      failed = ::flock(fd_, LOCK_EX | LOCK_NB);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0 && errno == EWOULDBLOCK) {
      ::close(std::exchange(fd_, -1));
      throw RunError(name, "is being written by another process",
                     "expected a name that no other writes to",
                     "wait for that process, or choose another name");
    }
    // The holder before may have removed the file since it was opened.
    if (failed != 0 || stands()) return;
    ::close(std::exchange(fd_, -1));
  }
}

NameLock::~NameLock() {
  struct stat info {};
  if (::fstat(fd_, &info) == 0 && info.st_size == 0 && stands()) ::unlink(path_.c_str());
  ::close(fd_);
}

bool NameLock::stands() const {
  struct stat named {};
  struct stat held {};
  return ::lstat(path_.c_str(), &named) == 0 && ::fstat(fd_, &held) == 0 &&
         named.st_dev == held.st_dev && named.st_ino == held.st_ino;
}

}  // namespace infinipipe

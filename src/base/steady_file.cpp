#include "infinipipe/base/steady_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

SteadyFile::SteadyFile(std::string path) : path_(std::move(path)) {
  // A named pipe must not be waited for.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &info) != 0) {
    const std::string why = std::strerror(errno);
    if (descriptor_ >= 0) ::close(descriptor_);
    throw InputError(path_, "cannot be opened: " + why);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(descriptor_);
    throw InputError(path_, S_ISDIR(info.st_mode) ? "is a folder" : "is no regular file",
                     "expected a file");
  }
  size_ = static_cast<std::uint64_t>(info.st_size);
  changed_ = info.st_mtim;
}

SteadyFile::~SteadyFile() { ::close(descriptor_); }

void SteadyFile::check_unchanged() const {
  struct stat info {};
  if (::fstat(descriptor_, &info) != 0) {
    throw RunError(path_, std::string("cannot be read: ") + std::strerror(errno));
  }
  const bool same = static_cast<std::uint64_t>(info.st_size) == size_ &&
                    info.st_mtim.tv_sec == changed_.tv_sec &&
                    info.st_mtim.tv_nsec == changed_.tv_nsec;
  if (same) return;
  const std::string sizes =
      static_cast<std::uint64_t>(info.st_size) == size_
          ? ""
          : ", from " + std::to_string(size_) + " to " + std::to_string(info.st_size) + " bytes";
  throw RunError(path_, "was changed while it was in use" + sizes, "expected it to stay as it was",
                 "restore it and start again");
}

void SteadyFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  INFINIPIPE_ASSERT(offset <= size_ && bytes.size() <= size_ - offset, "a range within the file");
  while (!bytes.empty()) {
    const ssize_t got =
        ::pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw RunError(path_, std::string("cannot be read: ") + std::strerror(errno));
    if (got == 0) break;  // it is shorter by now
    offset += static_cast<std::uint64_t>(got);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  check_unchanged();
  if (!bytes.empty()) throw RunError(path_, "ends before what was asked for");
}

}  // namespace infinipipe

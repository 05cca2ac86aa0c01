#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/open_file_name.h"
#include "base/temporary_file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

std::string reason() { return std::strerror(errno); }

// Closes on scope exit.
class Descriptor final {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct OpenFile {
  Descriptor descriptor;
  std::size_t size;
};

OpenFile open_to_read(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw InputError(path, "cannot be opened: " + reason());
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const std::string why = reason();
    ::close(fd);
    throw InputError(path, "cannot be read: " + why);
  }
  if (S_ISDIR(info.st_mode)) {
    ::close(fd);
    throw InputError(path, "is a folder", "expected a file");
  }
  return {Descriptor(fd), static_cast<std::size_t>(info.st_size)};
}

}  // namespace

std::string read_file(const std::string& path, std::size_t limit) {
  const OpenFile file = open_to_read(path);
  const auto too_large = [&] {
    throw InputError(path, "is larger than " + std::to_string(limit) + " bytes",
                     "expected a smaller file");
  };
  if (file.size > limit) too_large();
  std::string content;
  content.resize(file.size);
  std::size_t have = 0;
  while (true) {  // the size is a hint: pipes say 0, files may grow
    if (have == content.size()) content.resize(have == 0 ? 4096 : have + have / 2);
    const ssize_t got = ::read(file.descriptor.get(), content.data() + have, content.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw InputError(path, "cannot be read: " + reason());
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
    if (have > limit) too_large();
  }
  content.resize(have);
  return content;
}

void write_file(const std::string& path, std::string_view content) {
  struct stat info {};
  const bool special =
      ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
  if (!special && !names_open_file(path)) {
    TemporaryFile file(path);
    file.write(std::as_bytes(std::span(content)));
    file.commit();
    return;
  }
  const auto fail = [&](const char* what) {
    throw RunError(path, std::string(what) + ": " + reason(), "", "check the disk and the folder");
  };
  Descriptor file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (file.get() < 0) fail("cannot be opened");
  while (!content.empty()) {
    const ssize_t put = ::write(file.get(), content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written");
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::close(file.release()) != 0) fail("cannot be closed");
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw RunError(path, "folder cannot be made: " + error.message());
}

std::string existing_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(path).lexically_normal();
  while (!std::filesystem::exists(folder, error) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  return folder.string();
}

void require_writable_folder(const std::string& path) {
  const std::string probe = existing_folder(path) + "/.probe." + std::to_string(::getpid());
  ::unlink(probe.c_str());  // of a process that had this number and was killed
  const Descriptor file(
      ::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.get() < 0) {
    throw RunError(path, "no file can be made in it: " + reason(), "a folder to write to",
                   "check the disk and its rights");
  }
  ::unlink(probe.c_str());
}

FileLock::FileLock(const std::string& path, const std::function<void()>& waiting) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (file.get() < 0) return;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return;
    waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  fd_ = file.release();
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

void sync_path(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) {
    throw RunError(path, "cannot be synced: " + reason());
  }
}

}  // namespace infinipipe

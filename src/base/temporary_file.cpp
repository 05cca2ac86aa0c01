#include "base/temporary_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::string_view kMark = ".tmp.";

// "NAME.tmp.12" or "NAME.tmp.12.3", as make() names them.
bool is_temporary_of(std::string_view file, std::string_view name) {
  if (!file.starts_with(name) || !file.substr(name.size()).starts_with(kMark)) return false;
  file.remove_prefix(name.size() + kMark.size());
  return !file.empty() && file.find_first_not_of("0123456789.") == std::string_view::npos;
}

// Temporary files that stood in a folder when this process first wrote to it. Listing it once keeps
// a run that writes thousands of files there from listing it thousands of times.
std::vector<std::string> found_at_start(const std::string& folder) {
  static std::mutex mutex;
  static std::map<std::string, std::vector<std::string>> folders;
  const std::lock_guard lock(mutex);
  const auto [entry, is_new] = folders.try_emplace(folder);
  if (is_new) {
    std::error_code error;
    std::filesystem::directory_iterator at(folder, error);
    for (const std::filesystem::directory_iterator end; !error && at != end; at.increment(error)) {
      std::string name = at->path().filename().string();
      if (name.find(kMark) != std::string::npos) entry->second.push_back(std::move(name));
    }
  }
  return entry->second;
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Removes a file that no process holds; true if the name is free now.
bool remove_if_abandoned(const std::string& path) {
  struct stat named {};
  if (::lstat(path.c_str(), &named) != 0) return errno == ENOENT;
  if (!S_ISREG(named.st_mode)) return false;
  const int fd = ::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat opened {};
  const bool removed = ::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(fd, &opened) == 0 &&
                       same_file(named, opened) && ::unlink(path.c_str()) == 0;
  ::close(fd);
  return removed;
}

}  // namespace

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

TemporaryFile::TemporaryFile(std::string path) : path_(std::move(path)) {
  const std::string folder = folder_of(path_);
  const std::string name = std::filesystem::path(path_).filename().string();
  for (const std::string& file : found_at_start(folder)) {
    if (is_temporary_of(file, name)) remove_if_abandoned(folder + "/" + file);
  }
  make();
}

void TemporaryFile::make() {
  constexpr int kMostNames = 100;  // others are in use, or are links that someone laid there
  const std::string own = path_ + std::string(kMark) + std::to_string(::getpid());
  for (int i = 0; i < kMostNames; ++i) {
    temporary_ = i == 0 ? own : own + "." + std::to_string(i);
    descriptor_ =
        ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (descriptor_ < 0 && errno == EEXIST && remove_if_abandoned(temporary_)) {
      descriptor_ =
          ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    }
    if (descriptor_ < 0 && errno == EEXIST) continue;
    if (descriptor_ < 0) break;
    // Where locks do not work nothing is ever found abandoned, which is safe. Another process may
    // have taken the new file for abandoned before it was locked.
    struct stat info {};
    ::flock(descriptor_, LOCK_EX);
    if (::fstat(descriptor_, &info) != 0 || info.st_nlink > 0) return;
    ::close(std::exchange(descriptor_, -1));
  }
  temporary_.clear();
  fail("cannot be created");
}

TemporaryFile::~TemporaryFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (descriptor_ >= 0) ::close(descriptor_);
}

void TemporaryFile::fail(const char* what) const {
  throw RunError(path_, std::string(what) + ": " + std::strerror(errno), "",
                 "check the disk and the folder");
}

void TemporaryFile::write(std::span<const std::byte> bytes) {
  INFINIPIPE_ASSERT(!synced_, "write after sync");
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written");
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void TemporaryFile::sync() {
  if (std::exchange(synced_, true)) return;
  if (::fsync(descriptor_) != 0) fail("cannot be synced");
}

void TemporaryFile::commit() {
  sync();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be renamed into place");
  temporary_.clear();
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot be closed");
  sync_path(folder_of(path_));
}

}  // namespace infinipipe

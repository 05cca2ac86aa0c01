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
#include <set>
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

// The names of this process's temporary files, for where it ends without unwinding.
class HeldFiles final {
 public:
  void add(const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_.insert(name);
  }
  void erase(const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_.erase(name);
  }
  void remove() noexcept {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return;
    for (const std::string& name : names_) ::unlink(name.c_str());
  }

 private:
  std::mutex mutex_;
  std::set<std::string> names_;
};

HeldFiles& held_files() {
  static auto* const files = new HeldFiles;  // outlives whatever ends the process
  return *files;
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

std::string behind_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // as many as Linux follows
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path target = path;
  for (int links = 0; fs::is_symlink(target, error); ++links) {
    const fs::path next = fs::read_symlink(target, error);
    if (error || links == kMostLinks) {
      throw RunError(path, "is a link that leads back to itself", "expected one to a file",
                     "remove the link");
    }
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  if (target != path && !fs::is_directory(folder_of(target.string()), error)) {
    throw RunError(path, "is a link to " + target.string() + ", whose folder is not there",
                   "expected a link into a folder", "make the folder or remove the link");
  }
  return target.string();
}

void remove_temporary_files() noexcept { held_files().remove(); }

TemporaryFile::TemporaryFile(std::string path) : path_(behind_links(path)) {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
    throw RunError(path_, "is no regular file", "expected one, or none of that name",
                   "choose another name");
  }
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
    if (::fstat(descriptor_, &info) != 0 || info.st_nlink > 0) {
      held_files().add(temporary_);
      return;
    }
    ::close(std::exchange(descriptor_, -1));
  }
  temporary_.clear();
  fail("cannot be created");
}

TemporaryFile::~TemporaryFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
    held_files().erase(temporary_);
  }
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
  held_files().erase(std::exchange(temporary_, {}));
  if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot be closed");
  sync_path(folder_of(path_));
}

}  // namespace infinipipe

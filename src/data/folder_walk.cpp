#include "data/folder_walk.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string_view>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

FolderWalk::FolderWalk(const std::string& folder, std::vector<std::string> patterns,
                       std::vector<std::string> roots)
    : patterns_(std::move(patterns)), roots_(std::move(roots)) {
  enter(folder, "", false);
}

void FolderWalk::enter(std::string path, std::string relative, bool outside) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(path, error);
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.starts_with('.')) {
      ++counts_.hidden;
    } else {
      names.push_back(std::move(name));
    }
  }
  if (error) throw InputError(path, "cannot be listed: " + error.message());
  std::sort(names.begin(), names.end(), std::greater<>());
  levels_.push_back({std::move(path), std::move(relative), outside, std::move(names)});
}

// Below a root, and not below a hidden folder of it.
bool FolderWalk::is_read_by_name(const std::string& real) const {
  return std::any_of(roots_.begin(), roots_.end(), [&](const std::string& root) {
    if (!real.starts_with(root)) return false;
    const std::string_view rest = std::string_view(real).substr(root.size());
    const bool below = rest.empty() || rest[0] == '/' || root.ends_with('/');
    return below && rest.find("/.") == std::string_view::npos && !rest.starts_with('.');
  });
}

void FolderWalk::enter_below(const Level& parent, std::string path, std::string relative,
                             bool linked) {
  if (!linked && !parent.outside) return enter(std::move(path), std::move(relative), false);
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  struct stat info {};
  if (error || ::stat(path.c_str(), &info) != 0) {
    ++counts_.odd;
  } else if (is_read_by_name(real) || !visited_outside_.emplace(info.st_dev, info.st_ino).second) {
    ++counts_.repeated;
  } else {
    enter(std::move(path), std::move(relative), true);
  }
}

bool FolderWalk::fits(const std::string& name, const std::string& relative) const {
  if (patterns_.empty()) return true;
  return std::any_of(patterns_.begin(), patterns_.end(), [&](const std::string& pattern) {
    const bool is_path = pattern.find('/') != std::string::npos;
    return ::fnmatch(pattern.c_str(), is_path ? relative.c_str() : name.c_str(),
                     is_path ? FNM_PATHNAME : 0) == 0;
  });
}

std::optional<FolderWalk::File> FolderWalk::next() {
  while (!levels_.empty()) {
    Level& level = levels_.back();
    if (level.names.empty()) {
      levels_.pop_back();
      continue;
    }
    const std::string name = std::move(level.names.back());
    level.names.pop_back();
    std::string path = level.path + (level.path.ends_with('/') ? "" : "/") + name;
    std::string relative = level.relative + name;
    struct stat link {};
    struct stat target {};
    if (::lstat(path.c_str(), &link) != 0 || ::stat(path.c_str(), &target) != 0) {
      ++counts_.odd;
    } else if (S_ISDIR(target.st_mode)) {
      enter_below(level, std::move(path), std::move(relative) + "/", S_ISLNK(link.st_mode));
    } else if (S_ISREG(target.st_mode)) {
      ++counts_.files_seen;
      if (fits(name, relative)) return File{std::move(path), target.st_size};
    } else {
      ++counts_.odd;
    }
  }
  return std::nullopt;
}

}  // namespace infinipipe

#include "data/folder_walk.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

FolderWalk::FolderWalk(const std::string& folder, std::vector<std::string> patterns)
    : patterns_(std::move(patterns)) {
  enter(folder, "");
}

void FolderWalk::enter(std::string path, std::string relative) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(path, error);
  for (const std::filesystem::directory_iterator end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (!name.starts_with('.')) names.push_back(std::move(name));
  }
  if (error) throw InputError(path, "cannot be listed: " + error.message());
  std::sort(names.begin(), names.end(), std::greater<>());
  levels_.push_back({std::move(path), std::move(relative), std::move(names)});
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
      ++skipped_;
    } else if (S_ISDIR(link.st_mode)) {
      enter(std::move(path), std::move(relative) + "/");
    } else if (S_ISREG(target.st_mode)) {
      ++files_seen_;
      if (fits(name, relative)) return File{std::move(path), target.st_size};
    } else if (!S_ISDIR(target.st_mode)) {
      ++skipped_;
    }
  }
  return std::nullopt;
}

}  // namespace infinipipe

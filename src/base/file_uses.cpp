#include "base/file_uses.h"

#include <sys/stat.h>

#include <filesystem>
#include <optional>

#include "base/open_file_name.h"
#include "base/temporary_file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// What tells a file from others.
struct Identity {
  std::string path;  // absolute, without links as far as it exists
  std::optional<struct stat> info;

  bool is(const Identity& other) const {
    if (path == other.path) return true;
    return info && other.info && info->st_dev == other.info->st_dev &&
           info->st_ino == other.info->st_ino;
  }
};

// Empty where it does not matter who else uses it.
std::optional<Identity> identity(const std::string& path) {
  if (path.empty() || path == "-" || names_open_file(path)) return {};
  Identity identity;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return {};
    identity.info = info;
  }
  std::error_code error;
  std::filesystem::path real = path;
  try {
    real = behind_links(path);
  } catch (const RunError&) {  // whoever writes to it will say so
  }
  real = std::filesystem::absolute(real, error).lexically_normal();
  const std::filesystem::path resolved = std::filesystem::weakly_canonical(real, error);
  identity.path = (error ? real : resolved).string();
  return identity;
}

}  // namespace

void require_own_outputs(const std::vector<FileUse>& uses) {
  std::vector<std::optional<Identity>> identities;
  for (const FileUse& use : uses) identities.push_back(identity(use.path));
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (!uses[i].written || !identities[i]) continue;
    for (std::size_t other = 0; other < uses.size(); ++other) {
      if (other == i || (uses[other].written && other > i) || !identities[other]) continue;
      if (!identities[i]->is(*identities[other])) continue;
      throw InputError(uses[i].name,
                       "found " + uses[i].path + ", the file of " + uses[other].name +
                           (uses[other].path == uses[i].path ? "" : " (" + uses[other].path + ")"),
                       "expected another file", "it would be overwritten");
    }
  }
}

}  // namespace infinipipe

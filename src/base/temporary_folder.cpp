#include "base/temporary_folder.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAside = ".old";

}  // namespace

TemporaryFolder::TemporaryFolder(std::string path) : path_(std::move(path)) {
  remove();
  make_folder(path_);
}

TemporaryFolder::~TemporaryFolder() { remove(); }

void TemporaryFolder::rename_to(const std::string& folder) {
  if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, folder.c_str(), RENAME_EXCHANGE) == 0) return;
  const int why = errno;
  const auto fail = [&folder](const std::error_code& error) {
    throw RunError(folder, "cannot be renamed into place: " + error.message());
  };
  std::error_code error;
  if (why == ENOENT) {  // no folder of that name
    fs::rename(path_, folder, error);
    if (error) fail(error);
    return;
  }
  if (why != EINVAL && why != ENOSYS && why != ENOTSUP) {
    fail(std::error_code(why, std::generic_category()));
  }
  // A file system that cannot exchange: the old one goes aside, and back where that fails.
  const std::string aside = path_ + kAside;
  fs::remove_all(aside, error);
  fs::rename(folder, aside, error);
  if (error) fail(error);
  fs::rename(path_, folder, error);
  if (error) {
    std::error_code ignored;
    fs::rename(aside, folder, ignored);
    fail(error);
  }
  fs::remove_all(aside, error);
}

void TemporaryFolder::remove() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace infinipipe

// A cache folder of a test's own.
#pragma once

#include <cstdlib>
#include <string>

namespace infinipipe {

// As long as it lives, XDG_CACHE_HOME names `folder`; then what it named before. One at a time.
class CacheHome final {
 public:
  explicit CacheHome(const std::string& folder) {
    if (const char* before = std::getenv("XDG_CACHE_HOME")) before_ = before;
    ::setenv("XDG_CACHE_HOME", folder.c_str(), 1);
  }
  ~CacheHome() {
    if (before_.empty()) {
      ::unsetenv("XDG_CACHE_HOME");
    } else {
      ::setenv("XDG_CACHE_HOME", before_.c_str(), 1);
    }
  }
  CacheHome(const CacheHome&) = delete;
  CacheHome& operator=(const CacheHome&) = delete;

 private:
  std::string before_;
};

}  // namespace infinipipe

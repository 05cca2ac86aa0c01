#include "trainer/convert.h"

#include <filesystem>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace fs = std::filesystem;

void ConversionProgress::add(Bytes bytes) {
  if (stop_ != nullptr && stop_->load()) throw Stopped("command line");
  constexpr Bytes kEvery = 1e9;
  const bool due = static_cast<std::int64_t>((done_ + bytes) / kEvery) !=
                   static_cast<std::int64_t>(done_ / kEvery);
  done_ += bytes;
  if (due) log_(format_bytes(done_) + " of " + format_bytes(total_));
}

void require_fresh_folder(const std::string& flag, const std::string& folder) {
  std::error_code error;
  const bool there = fs::exists(fs::symlink_status(folder, error));
  if (there && (!fs::is_directory(folder, error) || !fs::is_empty(folder, error))) {
    throw InputError(
        flag,
        "found " + folder +
            (fs::is_directory(folder, error) ? ", which is not empty" : ", which is no folder"),
        "expected a folder that is new or empty", "name another one, or remove it");
  }
  const std::string parent = fs::path(folder).has_filename()
                                 ? fs::path(folder).parent_path().string()
                                 : fs::path(folder).parent_path().parent_path().string();
  require_writable_folder(parent.empty() ? "." : parent);
}

}  // namespace infinipipe

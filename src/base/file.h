// Whole files in and out, without half-written results. Errors are InputError (reading) and
// RunError (writing), naming the path and the system's reason.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace infinipipe {

// The whole file. Refuses directories, and files over `limit` bytes before it reads them.
std::string read_file(const std::string& path, std::size_t limit = std::size_t{1} << 31);

// Replaces the file in one step: a temporary file beside it is written, synced and renamed, and the
// folder is synced. On failure the old content stands and the temporary file is gone. A link stays
// a link, to the new content; one into a missing folder is a RunError. What is no regular file
// (/dev/stdout, a pipe) gets the content as it stands.
void write_file(const std::string& path, std::string_view content);

// Creates the folder and its parents; no error if it exists.
void make_folder(const std::string& path);
// The folder, or, where it is missing, the nearest one above it that is there.
std::string existing_folder(const std::string& path);
// Throws RunError unless files can be made in the folder, or, where it is missing, in the nearest
// one above it that is there. Leaves nothing behind.
void require_writable_folder(const std::string& path);

// Held by one process at a time, as long as the object lives. The file is made where it is missing,
// and stays. Where it cannot be made or locked, nothing is held: the lock saves double work,
// correctness must not hang on it.
class FileLock final {
 public:
  // `waiting` is called ten times a second while another process holds it; it may throw.
  explicit FileLock(
      const std::string& path, const std::function<void()>& waiting = [] {});
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

// fsync of a file or folder by name, for what was written by other means.
void sync_path(const std::string& path);

}  // namespace infinipipe

// A file that is written under a temporary name and gets its own name only when it is whole.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace infinipipe {

// Makes PATH.tmp.PID, as a new file in any case: what has that name already, a link above all, is
// never written through. While the object lives it holds a lock on the file, by which other
// processes know that it is in use; those of PATH that a killed process left are removed first.
// Where PATH is a link, PATH stands for the file that it leads to in the end: links stay. Every
// failure is a RunError that names PATH and the system's reason. The destructor removes the file
// unless commit() was reached. Not thread-safe.
class TemporaryFile final {
 public:
  explicit TemporaryFile(std::string path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& temporary_path() const { return temporary_; }

  void write(std::span<const std::byte> bytes);
  // Syncs, still under the temporary name; nothing is written after it.
  void sync();
  // sync(), then renames into place and syncs the folder.
  void commit();

 private:
  void make();
  [[noreturn]] void fail(const char* what) const;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  bool synced_ = false;
};

// The file that a path leads to through links; it need not be there, but its folder must, where the
// path is a link. Throws RunError for a link into a missing folder and for links without an end.
std::string behind_links(const std::string& path);

// Removes the temporary files that this process holds, for where it ends without unwinding. Takes
// no memory; does what it can where another thread is at work.
void remove_temporary_files() noexcept;

// The folder that a path's file is in, "." for a bare name.
std::string folder_of(const std::string& path);

}  // namespace infinipipe

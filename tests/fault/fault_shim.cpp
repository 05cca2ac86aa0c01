// A library for LD_PRELOAD that lets one chosen call on files fail, or ends the process there.
//
//   INFINIPIPE_FAULT_UNDER  a folder: only what changes files in it counts (making, writing,
//   syncing,
//                           closing what was written, renaming, removing, folders too)
//   INFINIPIPE_FAULT_LOG    a file outside: one line a counted call, "write 4096 PATH"
//   INFINIPIPE_FAULT_AT     the counted call to spoil: 1 is the first; with
//   INFINIPIPE_FAULT_FOREVER
//                           set, all later ones too
//   INFINIPIPE_FAULT_DO     kill: SIGKILL before the call is made; eio, enospc: it fails with that
//                           error and does nothing; short: a write of many bytes takes half of them
//
// Linux and glibc only. Calls are counted in the order in which the process makes them.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <string>

namespace {

// The next definition of the function: the C library's.
template <typename Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

std::string setting(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

// An absolute path of what `path` names, links not followed; `folder` is an openat() descriptor.
std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  char base[PATH_MAX];
  if (folder == AT_FDCWD) {
    if (getcwd(base, sizeof(base)) == nullptr) return path;
    return std::string(base) + "/" + path;
  }
  const std::string link = "/proc/self/fd/" + std::to_string(folder);
  const ssize_t size = readlink(link.c_str(), base, sizeof(base) - 1);
  return std::string(base, size < 0 ? 0 : static_cast<std::size_t>(size)) + "/" + path;
}

std::string of_descriptor(int fd) {
  char name[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = readlink(link.c_str(), name, sizeof(name) - 1);
  return std::string(name, size < 0 ? 0 : static_cast<std::size_t>(size));
}

enum class Verdict { kGoOn, kFail, kShort };

std::atomic<long> calls{0};

// Counts a call, logs it, and says what is to become of it. errno is set for kFail.
Verdict judge(const char* call, std::size_t bytes, const std::string& path) {
  static const std::string under = setting("INFINIPIPE_FAULT_UNDER");
  static const std::string log = setting("INFINIPIPE_FAULT_LOG");
  static const std::string action = setting("INFINIPIPE_FAULT_DO");
  static const bool forever = !setting("INFINIPIPE_FAULT_FOREVER").empty();
  static const long at = atol(("0" + setting("INFINIPIPE_FAULT_AT")).c_str());
  if (under.empty() || !path.starts_with(under)) return Verdict::kGoOn;
  const int saved = errno;
  const long number = ++calls;
  if (!log.empty()) {
    const std::string line = std::string(call) + " " + std::to_string(bytes) + " " + path + "\n";
    const int fd = real<int(const char*, int, ...)>("open")(
        log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    const ssize_t put =
        real<ssize_t(int, const void*, size_t)>("write")(fd, line.data(), line.size());
    (void)put;
    real<int(int)>("close")(fd);
  }
  errno = saved;
  if (at == 0 || (forever ? number < at : number != at)) return Verdict::kGoOn;
  if (action == "kill") raise(SIGKILL);
  if (action == "short") return bytes > 1 ? Verdict::kShort : Verdict::kGoOn;
  errno = action == "enospc" ? ENOSPC : EIO;
  return Verdict::kFail;
}

bool changes(int flags) { return (flags & (O_CREAT | O_TRUNC)) != 0; }

}  // namespace

#define FAILS(...) (judge(__VA_ARGS__) == Verdict::kFail)

extern "C" {

// Both take the mode as a third argument where a file is made.
#define OPEN_AS(function)                                                                \
  int function(const char* path, int flags, ...) {                                       \
    va_list list;                                                                        \
    va_start(list, flags);                                                               \
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0; \
    va_end(list);                                                                        \
    if (changes(flags) && FAILS("open", 0, absolute(AT_FDCWD, path))) return -1;         \
    return real<int(const char*, int, ...)>(#function)(path, flags, mode);               \
  }
OPEN_AS(open)
OPEN_AS(open64)
#undef OPEN_AS

ssize_t write(int fd, const void* bytes, size_t count) {
  const Verdict verdict = judge("write", count, of_descriptor(fd));
  if (verdict == Verdict::kFail) return -1;
  if (verdict == Verdict::kShort) count /= 2;
  return real<ssize_t(int, const void*, size_t)>("write")(fd, bytes, count);
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  const Verdict verdict = judge("pwrite", count, of_descriptor(fd));
  if (verdict == Verdict::kFail) return -1;
  if (verdict == Verdict::kShort) count /= 2;
  return real<ssize_t(int, const void*, size_t, off_t)>("pwrite")(fd, bytes, count, offset);
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  if (FAILS("writev", 0, of_descriptor(fd))) return -1;
  return real<ssize_t(int, const struct iovec*, int)>("writev")(fd, parts, count);
}

int fsync(int fd) {
  if (FAILS("fsync", 0, of_descriptor(fd))) return -1;
  return real<int(int)>("fsync")(fd);
}

int fdatasync(int fd) {
  if (FAILS("fdatasync", 0, of_descriptor(fd))) return -1;
  return real<int(int)>("fdatasync")(fd);
}

// The descriptor is gone in any case, as in Linux.
int close(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  const bool written = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
  const bool fails = written && FAILS("close", 0, of_descriptor(fd));
  const int saved = errno;
  const int result = real<int(int)>("close")(fd);
  if (!fails) return result;
  errno = saved;
  return -1;
}

int ftruncate(int fd, off_t size) {
  if (FAILS("ftruncate", 0, of_descriptor(fd))) return -1;
  return real<int(int, off_t)>("ftruncate")(fd, size);
}

int rename(const char* from, const char* to) {
  if (FAILS("rename", 0, absolute(AT_FDCWD, to))) return -1;
  return real<int(const char*, const char*)>("rename")(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  if (FAILS("renameat2", 0, absolute(to_folder, to))) return -1;
  return real<int(int, const char*, int, const char*, unsigned)>("renameat2")(from_folder, from,
                                                                              to_folder, to, flags);
}

int mkdir(const char* path, mode_t mode) {
  if (FAILS("mkdir", 0, absolute(AT_FDCWD, path))) return -1;
  return real<int(const char*, mode_t)>("mkdir")(path, mode);
}

int unlink(const char* path) {
  if (FAILS("unlink", 0, absolute(AT_FDCWD, path))) return -1;
  return real<int(const char*)>("unlink")(path);
}

int unlinkat(int folder, const char* path, int flags) {
  if (FAILS("unlink", 0, absolute(folder, path))) return -1;
  return real<int(int, const char*, int)>("unlinkat")(folder, path, flags);
}

int remove(const char* path) {
  if (FAILS("unlink", 0, absolute(AT_FDCWD, path))) return -1;
  return real<int(const char*)>("remove")(path);
}

int rmdir(const char* path) {
  if (FAILS("rmdir", 0, absolute(AT_FDCWD, path))) return -1;
  return real<int(const char*)>("rmdir")(path);
}

}  // extern "C"

#include "trainer/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "infinipipe/base/error.h"

namespace infinipipe {

RunLock::RunLock(const std::string& folder, const std::function<void(const std::string&)>& warn) {
  if (folder.empty()) return;
  const std::string path = folder + "/lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) throw RunError(path, std::string("cannot be opened: ") + std::strerror(errno));
  std::array<char, 128> owner{};
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int why = errno;
    if (why != EWOULDBLOCK) {
      warn(path + ": cannot be locked (" + std::strerror(why) +
           "): take care that no other run uses the folder");
      return;
    }
    const ssize_t got = ::pread(fd_, owner.data(), owner.size() - 1, 0);
    std::string who(owner.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    while (!who.empty() && who.back() == '\n') who.pop_back();
    ::close(fd_);
    throw InputError("config: checkpoint.path", "found " + folder + " in use by " + who,
                     "expected a folder that no other run uses",
                     "wait for that run, or choose another folder");
  }
  std::array<char, 65> host{};
  ::gethostname(host.data(), host.size() - 1);
  const std::string me =
      "process " + std::to_string(::getpid()) + " on " + std::string(host.data()) + "\n";
  // What it says is for people; where it cannot be written the lock holds all the same.
  if (::ftruncate(fd_, 0) == 0) {
    [[maybe_unused]] const ssize_t put = ::pwrite(fd_, me.data(), me.size(), 0);
  }
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace infinipipe

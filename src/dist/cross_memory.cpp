#include "dist/cross_memory.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>
#include <vector>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using Word = std::atomic<std::uint32_t>;
static_assert(Word::is_always_lock_free && sizeof(Word) == sizeof(std::uint32_t));

constexpr std::uint32_t kSlots = 1U << 14;  // messages of one direction that may be under way
constexpr long kLookAgain = 50'000'000;  // nanoseconds: then whoever waits looks whether all live

// Where a message stands. Sender and receiver come in any order; who comes second copies, so nobody
// has to wait for the other's thread to be at it.
enum Phase : std::uint32_t {
  kFailed,     // sizes differ, or one of both has let go of its tensor
  kPosted,     // the receiver's buffer is known
  kAnnounced,  // the sender's tensor is known
  kWriting,    // the sender copies
  kReading,    // the receiver copies
  kDone,
};
constexpr std::uint32_t kPhases = 8;

// Of the messages `number` (from 1) of a direction with the same number modulo kSlots.
struct Slot {
  Word state;  // number * kPhases + phase, of the latest; counts may pass 2^32
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t buffer_bytes = 0;
};

// One direction, in the receiver's inbox.
struct Ring {
  alignas(64) Word sender_gone;
  Word receiver_gone;
  std::array<Slot, kSlots> slots;
};

struct Inbox {
  std::uint64_t token;
  std::uint64_t probe;  // written by all others, to see that they may write
  // Then a ring for each member.
};
constexpr std::size_t kHeader = 64;
static_assert(sizeof(Inbox) <= kHeader);

std::size_t inbox_bytes(int members) {
  return kHeader + static_cast<std::size_t>(members) * sizeof(Ring);
}

std::uint32_t state_of(std::uint32_t number, Phase phase) { return number * kPhases + phase; }

// Sleeps while the word has the value, for kLookAgain at most.
void sleep_on(Word& word, std::uint32_t value) {
  const timespec time{.tv_sec = 0, .tv_nsec = kLookAgain};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

void wake(Word& word) { ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

class File final {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  int get() const { return descriptor_; }
  bool ok() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

// A mapped inbox: one's own, or another member's.
class Mapping final {
 public:
  Mapping(const File& file, int members) : bytes_(inbox_bytes(members)) {
    void* const at = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (at != MAP_FAILED) at_ = static_cast<std::byte*>(at);
  }
  ~Mapping() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool ok() const { return at_ != nullptr; }
  Inbox& inbox() const { return *reinterpret_cast<Inbox*>(at_); }
  // Of what `member` sends to the inbox's owner. All of it is zero at first, which is a ring.
  Ring& ring(int member) const {
    return *reinterpret_cast<Ring*>(at_ + kHeader +
                                    static_cast<std::size_t>(member) * sizeof(Ring));
  }

 private:
  std::size_t bytes_;
  std::byte* at_ = nullptr;
};

// What a member says of itself to the others.
struct Hello {
  pid_t process = 0;
  int file = -1;
  std::uint64_t token = 0;
  std::uint64_t address = 0;  // of its inbox, in its memory

  std::string text() const {
    std::ostringstream out;
    out << process << ' ' << file << ' ' << token << ' ' << address;
    return out.str();
  }
  static Hello of(const std::string& text) {
    Hello hello;
    std::istringstream(text) >> hello.process >> hello.file >> hello.token >> hello.address;
    return hello;
  }
};

// Copies into another process or out of it. Throws std::runtime_error where that is not allowed or
// it has ended.
void copy(pid_t process, std::uint64_t theirs, std::uint64_t own, std::uint64_t bytes,
          bool into_theirs) {
  std::uint64_t done = 0;
  while (done < bytes) {
    const iovec here{std::bit_cast<void*>(own + done), bytes - done};
    const iovec there{std::bit_cast<void*>(theirs + done), bytes - done};
    const ssize_t count = into_theirs ? ::process_vm_writev(process, &here, 1, &there, 1, 0)
                                      : ::process_vm_readv(process, &here, 1, &there, 1, 0);
    if (count > 0) {
      done += static_cast<std::uint64_t>(count);
    } else if (count == 0 || errno != EINTR) {
      throw std::runtime_error("copying between processes failed: " +
                               std::string(std::strerror(errno)));
    }
  }
}

struct Member {
  pid_t process = 0;
  File alive{-1};                    // readable once it has ended
  std::unique_ptr<Mapping> mapping;  // its inbox
  std::uint32_t sent = 0;            // messages to it
  std::uint32_t posted = 0;          // buffers for messages from it
};

bool has_ended(const Member& member) {
  pollfd look{.fd = member.alive.get(), .events = POLLIN, .revents = 0};
  return ::poll(&look, 1, 0) > 0;
}

// What a group and everything under way in it share.
struct Shared {
  Shared(int rank_in, int size) : rank(rank_in), members(static_cast<std::size_t>(size)) {}
  ~Shared() {
    for (std::size_t m = 0; m < members.size(); ++m) {
      if (own != nullptr && own->ok()) own->ring(static_cast<int>(m)).receiver_gone = 1;
      if (members[m].mapping != nullptr) members[m].mapping->ring(rank).sender_gone = 1;
    }
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

  Member& member(int which) { return members[static_cast<std::size_t>(which)]; }

  int rank;
  std::unique_ptr<Mapping> own;
  std::vector<Member> members;
};

// One end of a message under way.
class End final : public c10d::Work {
 public:
  // Meets the other end if that was first. Throws std::runtime_error where the message cannot be.
  End(std::shared_ptr<Shared> shared, int other, std::uint32_t number, at::Tensor tensor,
      bool sends)
      : Work(shared->rank, sends ? c10d::OpType::SEND : c10d::OpType::RECV),
        shared_(std::move(shared)),
        other_(shared_->member(other)),
        ring_(sends ? other_.mapping->ring(shared_->rank) : shared_->own->ring(other)),
        slot_(ring_.slots[number % kSlots]),
        number_(number),
        tensor_(std::move(tensor)),
        sends_(sends) {
    enter();
  }

  // Of a tensor that is let go of nothing is read or written any more.
  ~End() override {
    for (;;) {
      std::uint32_t state = slot_.state;
      if (state == state_of(number_, sends_ ? kAnnounced : kPosted)) {
        if (!slot_.state.compare_exchange_strong(state, state_of(number_, kFailed))) continue;
        wake(slot_.state);
        return;
      }
      // Who is killed while it copies does not come to an end of it.
      if (state != state_of(number_, sends_ ? kReading : kWriting) || has_ended(other_)) return;
      sleep_on(slot_.state, state);
    }
  }

  void abort() override {
    aborted_ = true;
    wake(slot_.state);
  }

  bool isCompleted() override {
    // A later message in the slot's place means that this one was done.
    const auto past = static_cast<std::int32_t>(slot_.state - state_of(number_, kFailed));
    return past >= static_cast<std::int32_t>(kDone);
  }

  // Whatever the time; false once abort() was called.
  bool wait(std::chrono::milliseconds) override {
    for (;;) {
      const std::uint32_t seen = slot_.state;
      if (isCompleted()) return true;
      if (aborted_) return false;
      if (seen == state_of(number_, kFailed)) throw std::runtime_error(problem());
      // In this order: what was done before the other left is done.
      const bool gone = (sends_ ? ring_.receiver_gone : ring_.sender_gone) != 0;
      const bool ended = has_ended(other_);
      if ((gone || ended) && seen == slot_.state)
        throw std::runtime_error(ended ? "its process has ended" : "it has left the group");
      sleep_on(slot_.state, seen);
    }
  }

 private:
  void enter() {
    const auto address = std::bit_cast<std::uint64_t>(tensor_.const_data_ptr());
    const auto bytes = static_cast<std::uint64_t>(tensor_.nbytes());
    std::uint32_t state = slot_.state;
    // The last one of the slot must have been taken. A ring that was never used is all zero.
    const std::uint32_t before = number_ - kSlots;
    const bool unused = state == 0 || state == state_of(before, kDone);
    const std::uint32_t theirs = state_of(number_, sends_ ? kPosted : kAnnounced);
    const bool failed = state == state_of(number_, kFailed);
    if (!unused && state != theirs && !failed)
      throw std::runtime_error("more than " + std::to_string(kSlots) + " messages are under way");
    (sends_ ? slot_.from : slot_.to) = address;
    (sends_ ? slot_.sent_bytes : slot_.buffer_bytes) = bytes;
    if (failed) throw std::runtime_error(problem());
    const std::uint32_t mine = state_of(number_, sends_ ? kAnnounced : kPosted);
    if (state != theirs && slot_.state.compare_exchange_strong(state, mine)) return;
    // The other end was first, perhaps in between, and may let go until it sees that this one
    // copies.
    state = theirs;
    if (!slot_.state.compare_exchange_strong(state,
                                             state_of(number_, sends_ ? kWriting : kReading)))
      throw std::runtime_error(problem());
    std::string wrong;
    if (slot_.sent_bytes != slot_.buffer_bytes) {
      wrong = problem();
    } else {
      try {
        copy(other_.process, sends_ ? slot_.to : slot_.from, address, bytes, sends_);
      } catch (const std::runtime_error& error) {
        wrong = error.what();
      }
    }
    slot_.state = state_of(number_, wrong.empty() ? kDone : kFailed);
    wake(slot_.state);
    if (!wrong.empty()) throw std::runtime_error(wrong);
  }

  // Why the message has failed.
  std::string problem() const {
    const std::uint64_t sent = slot_.sent_bytes;
    const std::uint64_t expected = slot_.buffer_bytes;
    if (sent == expected) return "the other end has let go of the message";
    return "a message of " + std::to_string(sent) + " bytes, of which the receiver expects " +
           std::to_string(expected);
  }

  std::shared_ptr<Shared> shared_;
  Member& other_;
  Ring& ring_;
  Slot& slot_;
  std::uint32_t number_;
  at::Tensor tensor_;
  bool sends_;
  std::atomic<bool> aborted_{false};
};

class CrossMemory final : public c10d::Backend {
 public:
  CrossMemory(std::shared_ptr<Shared> shared, int rank, int size)
      : Backend(rank, size), shared_(std::move(shared)) {}

  const std::string getBackendName() const override { return "cross_memory"; }

  c10::intrusive_ptr<c10d::Work> send(std::vector<at::Tensor>& tensors, int to, int) override {
    return c10::make_intrusive<End>(shared_, to, ++shared_->member(to).sent, tensors.at(0), true);
  }
  c10::intrusive_ptr<c10d::Work> recv(std::vector<at::Tensor>& tensors, int from, int) override {
    return c10::make_intrusive<End>(shared_, from, ++shared_->member(from).posted, tensors.at(0),
                                    false);
  }

 private:
  std::shared_ptr<Shared> shared_;
};

// Makes this process's inbox. Throws std::runtime_error where the system has no such thing.
Hello open_inbox(Shared& shared, const File& file, int size) {
  if (!file.ok() || ::ftruncate(file.get(), static_cast<off_t>(inbox_bytes(size))) != 0)
    throw std::runtime_error("no memory to share");
  shared.own = std::make_unique<Mapping>(file, size);
  if (!shared.own->ok()) throw std::runtime_error("no memory to share");
  // Where Yama lets a process be written to by its ancestors alone, the launcher's other
  // descendants, which are the other ranks, are let too. Without Yama this has no effect.
  ::prctl(PR_SET_PTRACER, static_cast<unsigned long>(::getppid()), 0, 0, 0);
  Inbox& inbox = shared.own->inbox();
  inbox.token = (std::uint64_t{std::random_device{}()} << 32) + std::random_device{}();
  return {::getpid(), file.get(), inbox.token, std::bit_cast<std::uint64_t>(&inbox)};
}

void open_member(Shared& shared, int which, const Hello& hello) {
  Member& member = shared.member(which);
  member.process = hello.process;
  member.alive = File(static_cast<int>(::syscall(SYS_pidfd_open, hello.process, 0)));
  const std::string path =
      "/proc/" + std::to_string(hello.process) + "/fd/" + std::to_string(hello.file);
  const File file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!member.alive.ok() || !file.ok()) throw std::runtime_error("no way to " + path);
  auto mapping = std::make_unique<Mapping>(file, static_cast<int>(shared.members.size()));
  // Another host's process of the same number has another token, or no such file.
  if (!mapping->ok() || mapping->inbox().token != hello.token)
    throw std::runtime_error(path + " is another process's");
  const std::uint64_t token = hello.token;
  copy(hello.process, hello.address + offsetof(Inbox, probe), std::bit_cast<std::uint64_t>(&token),
       sizeof(token), true);
  member.mapping = std::move(mapping);
}

c10::intrusive_ptr<c10d::Backend> make_group(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                             int size) {
  const auto key = [](const char* what, int member) {
    return std::string(what) + "/" + std::to_string(member);
  };
  auto shared = std::make_shared<Shared>(rank, size);
  const File file(::memfd_create("infinipipe-inbox", MFD_CLOEXEC));
  bool able = true;
  Hello own;
  try {
    own = open_inbox(*shared, file, size);
  } catch (const std::runtime_error&) {
    able = false;
  }
  store->set(key("inbox", rank), own.text());
  for (int other = 0; other < size; ++other) {
    if (other == rank) continue;
    const Hello hello = Hello::of(store->get_to_str(key("inbox", other)));
    try {
      if (able) open_member(*shared, other, hello);
    } catch (const std::runtime_error&) {
      able = false;
    }
  }
  // All or none, and nobody closes its file before all have opened it.
  store->set(key("able", rank), std::string(able ? "1" : "0"));
  for (int other = 0; other < size; ++other) able &= store->get_to_str(key("able", other)) == "1";
  if (!able) return {};
  return c10::make_intrusive<CrossMemory>(std::move(shared), rank, size);
}

}  // namespace

GroupFactory cross_memory_groups() { return make_group; }

}  // namespace infinipipe

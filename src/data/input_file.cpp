#include "data/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kReadBytes = std::size_t{1} << 18;

constexpr std::string_view kGzip = "\x1f\x8b"sv;
constexpr std::string_view kZstd = "\x28\xb5\x2f\xfd"sv;
constexpr std::string_view kZstdSkippable = "\x2a\x4d\x18"sv;  // after a byte from 0x50 to 0x5f

// Signatures long enough that no text has one by chance.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kOthers = {{
    {"\xfd"
     "7zXZ\0"sv,
     "xz"},
    {"\x04\x22\x4d\x18"sv, "lz4"},
    {"PK\x03\x04"sv, "zip"},
    {"7z\xbc\xaf\x27\x1c"sv, "7z"},
    {"ARROW1\0\0"sv, "Arrow"},
    {"Obj\x01"sv, "Avro"},
}};

bool is_bzip2(std::string_view start) {
  return start.starts_with("BZh") &&
         start.substr(std::min<std::size_t>(4, start.size())).starts_with("1AY&SY");
}

// Its signature is plain letters, and stands at both ends.
bool is_parquet(std::string_view start, int descriptor) {
  constexpr std::string_view kMagic = "PAR1";
  struct stat info {};
  std::array<char, kMagic.size()> end{};
  return start.starts_with(kMagic) && ::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) &&
         info.st_size >= 12 &&
         ::pread(descriptor, end.data(), end.size(),
                 info.st_size - static_cast<off_t>(end.size())) ==
             static_cast<ssize_t>(end.size()) &&
         std::string_view(end.data(), end.size()) == kMagic;
}

std::string_view unread_format(std::string_view start, int descriptor) {
  for (const auto& [signature, name] : kOthers) {
    if (start.starts_with(signature)) return name;
  }
  if (is_bzip2(start)) return "bzip2";
  if (is_parquet(start, descriptor)) return "Parquet";
  return {};
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw InputError(path_, std::string("cannot be opened: ") + std::strerror(errno));
  }
  try {
    while (!at_end_ && stored_.size() < 16) fill();
    const std::string_view start = stored_;
    if (const std::string_view name = unread_format(start, descriptor_); !name.empty()) {
      throw InputError(path_, "is a file of " + std::string(name),
                       "expected text or JSON, as it is or in gzip or Zstandard",
                       "convert it, or leave it out by --pattern");
    }
    if (start.starts_with(kGzip)) decoder_ = make_gzip_decoder(path_);
    if (start.starts_with(kZstd) ||
        (start.size() > 3 && (start[0] & 0xf0) == 0x50 && start.substr(1, 3) == kZstdSkippable)) {
      decoder_ = make_zstd_decoder(path_);
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::fill() {
  stored_.erase(0, std::exchange(at_, 0));
  const std::size_t have = stored_.size();
  stored_.resize(have + kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(descriptor_, stored_.data() + have, kReadBytes);
  } while (got < 0 && errno == EINTR);
  stored_.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  if (got < 0) throw InputError(path_, std::string("cannot be read: ") + std::strerror(errno));
  at_end_ = got == 0;
  stored_bytes_ += got;
}

std::size_t InputFile::read(std::span<char> output) {
  while (true) {
    if (waiting().empty() && !at_end_) fill();
    if (!decoder_) {
      const std::size_t size = waiting().copy(output.data(), output.size());
      at_ += size;
      return size;
    }
    const Decoder::Step step = decoder_->step(waiting(), output);
    at_ += step.consumed;
    if (step.produced > 0) return step.produced;
    if (step.consumed > 0 || !at_end_) continue;
    if (!decoder_->may_end()) {
      throw InputError(path_, "ends within its compressed data", "expected a whole file",
                       "copy it again");
    }
    return 0;
  }
}

}  // namespace infinipipe

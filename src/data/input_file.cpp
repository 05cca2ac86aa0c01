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

// How much of what a file holds is looked at.
constexpr std::size_t kLookedAt = std::size_t{1} << 16;

constexpr std::string_view kGzip = "\x1f\x8b"sv;
constexpr std::string_view kZstd = "\x28\xb5\x2f\xfd"sv;
constexpr std::string_view kZstdSkippable = "\x2a\x4d\x18"sv;  // after a byte from 0x50 to 0x5f
constexpr std::string_view kTar = "ustar"sv;
constexpr std::size_t kTarAt = 257;
constexpr std::string_view kParquet = "PAR1"sv;

// Signatures long enough that no text has one by chance.
constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kOthers = {{
    {"\xfd"
     "7zXZ\0"sv,
     "xz"},
    {"]\0\0"sv, "lzma"},
    {"LZIP\x01"sv, "lzip"},
    {"\x1f\x9d"sv, "compress"},
    {"\x04\x22\x4d\x18"sv, "lz4"},
    {"PK\x03\x04"sv, "zip"},
    {"PK\x05\x06"sv, "zip"},  // without a member
    {"PK\x07\x08"sv, "zip"},  // in several volumes
    {"7z\xbc\xaf\x27\x1c"sv, "7z"},
    {"Rar!\x1a\x07"sv, "rar"},
    {"!<arch>\n"sv, "ar"},
    {"ARROW1\0\0"sv, "Arrow"},
    {"Obj\x01"sv, "Avro"},
    {"SQLite format 3\0"sv, "SQLite"},
}};

bool is_bzip2(std::string_view start) {
  return start.starts_with("BZh") &&
         start.substr(std::min<std::size_t>(4, start.size())).starts_with("1AY&SY");
}

bool is_tar(std::string_view start) {
  return start.size() > kTarAt + kTar.size() && start.substr(kTarAt).starts_with(kTar) &&
         (start[kTarAt + kTar.size()] == '\0' || start[kTarAt + kTar.size()] == ' ');
}

bool is_zstd(std::string_view start) {
  return start.starts_with(kZstd) ||
         (start.size() > 3 && (start[0] & 0xf0) == 0x50 && start.substr(1, 3) == kZstdSkippable);
}

// Its signature is plain letters, and stands at both ends.
bool ends_as_parquet(int descriptor) {
  struct stat info {};
  std::array<char, kParquet.size()> end{};
  return ::fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= 12 &&
         ::pread(descriptor, end.data(), end.size(),
                 info.st_size - static_cast<off_t>(end.size())) ==
             static_cast<ssize_t>(end.size()) &&
         std::string_view(end.data(), end.size()) == kParquet;
}

// Where the end is not to be had: no text has a zero or the like at its beginning.
bool has_binary_byte(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && "\t\n\v\f\r\x1b"sv.find(c) == std::string::npos;
  });
}

// But for gzip, Zstandard and Parquet.
std::string_view unread_format(std::string_view start) {
  for (const auto& [signature, name] : kOthers) {
    if (start.starts_with(signature)) return name;
  }
  if (is_bzip2(start)) return "bzip2";
  if (is_tar(start)) return "tar";
  return {};
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw InputError(path_, std::string("cannot be opened: ") + std::strerror(errno));
  }
  try {
    while (!at_end_ && stored_.size() <= kTarAt + kTar.size()) fill();
    if (stored_.starts_with(kGzip)) decoder_ = make_gzip_decoder(path_);
    if (is_zstd(stored_)) decoder_ = make_zstd_decoder(path_);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

bool InputFile::is_parquet() const {
  return !decoder_ && waiting().starts_with(kParquet) && ends_as_parquet(descriptor_);
}

std::int64_t InputFile::size() const {
  struct stat info {};
  return ::fstat(descriptor_, &info) == 0 ? info.st_size : 0;
}

std::string InputFile::unread_form() {
  if (!decoder_) {
    const std::string_view name = unread_format(waiting());
    if (!name.empty()) return "is a file of " + std::string(name);
    return is_parquet() ? "is a file of Parquet" : "";
  }
  bool whole = false;
  while (!whole && start_.size() < kLookedAt) {
    const std::size_t have = start_.size();
    start_.resize(kLookedAt);
    const std::size_t got = decode(std::span(start_).subspan(have));
    start_.resize(have + got);
    whole = got == 0;
  }
  std::string_view name = unread_format(start_);
  if (start_.starts_with(kGzip)) name = "gzip";
  if (is_zstd(start_)) name = "Zstandard";
  if (start_.starts_with(kParquet) &&
      (whole ? start_.size() >= 12 && start_.ends_with(kParquet) : has_binary_byte(start_))) {
    name = "Parquet";
  }
  return name.empty() ? "" : "holds a file of " + std::string(name) + " in its compressed data";
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
  if (start_used_ == start_.size()) return decode(output);
  const std::size_t size =
      std::string_view(start_).substr(start_used_).copy(output.data(), output.size());
  start_used_ += size;
  if (start_used_ == start_.size()) {
    start_ = {};
    start_used_ = 0;
  }
  return size;
}

std::size_t InputFile::decode(std::span<char> output) {
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

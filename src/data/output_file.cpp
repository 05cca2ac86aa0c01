#include "data/output_file.h"

#include <algorithm>
#include <utility>

namespace infinipipe {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

}  // namespace

OutputFile::OutputFile(std::string path) : file_(std::move(path)) { buffer_.reserve(kBufferBytes); }

void OutputFile::append(std::span<const std::byte> bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    bytes = bytes.subspan(part);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void OutputFile::flush() {
  file_.write(buffer_);
  buffer_.clear();
}

void OutputFile::close() {
  flush();
  file_.sync();
}

void OutputFile::commit() {
  if (!buffer_.empty()) flush();
  file_.commit();
}

}  // namespace infinipipe

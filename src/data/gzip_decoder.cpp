// Owner of the zlib dependency.
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "data/decoder.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

class GzipDecoder final : public Decoder {
 public:
  explicit GzipDecoder(const std::string& path) : path_(path) {
    constexpr int kGzipOnly = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      throw RunError(path_, "cannot be decompressed: zlib has no memory");
    }
  }
  ~GzipDecoder() override { ::inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  Step step(std::string_view input, std::span<char> output) override {
    if (input.empty() && at_end_) return {};
    if (at_end_) {  // zeros may fill the file up; anything else is the next part
      const std::size_t zeros = std::min(input.find_first_not_of('\0'), input.size());
      if (zeros > 0) return {zeros, 0};
      ::inflateReset(&stream_);
      at_end_ = false;
    }
    constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
    const auto in = static_cast<uInt>(std::min(input.size(), kMost));
    const auto out = static_cast<uInt>(std::min(output.size(), kMost));
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = in;
    stream_.next_out = reinterpret_cast<Bytef*>(output.data());
    stream_.avail_out = out;
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      throw InputError(path_,
                       "its gzip data is damaged: " +
                           std::string(stream_.msg != nullptr ? stream_.msg : "not gzip"),
                       "expected a whole file", "copy it again");
    }
    at_end_ = status == Z_STREAM_END;
    return {in - stream_.avail_in, out - stream_.avail_out};
  }

  bool may_end() const override { return at_end_; }

 private:
  std::string path_;
  z_stream stream_{};
  bool at_end_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_gzip_decoder(const std::string& path) {
  return std::make_unique<GzipDecoder>(path);
}

}  // namespace infinipipe

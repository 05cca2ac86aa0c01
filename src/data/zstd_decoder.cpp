// Owner of the Zstandard dependency.
#include <zstd.h>

#include "data/decoder.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

class ZstdDecoder final : public Decoder {
 public:
  explicit ZstdDecoder(const std::string& path) : path_(path), stream_(::ZSTD_createDStream()) {
    if (stream_ == nullptr) {
      throw RunError(path_, "cannot be decompressed: Zstandard has no memory");
    }
  }
  ~ZstdDecoder() override { ::ZSTD_freeDStream(stream_); }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;

  Step step(std::string_view input, std::span<char> output) override {
    if (input.empty() && may_end_) return {};
    ZSTD_inBuffer in = {input.data(), input.size(), 0};
    ZSTD_outBuffer out = {output.data(), output.size(), 0};
    const std::size_t status = ::ZSTD_decompressStream(stream_, &out, &in);
    if (::ZSTD_isError(status) != 0) {
      throw InputError(
          path_, "its Zstandard data cannot be read: " + std::string(::ZSTD_getErrorName(status)),
          "expected a whole file with a window of at most 128 MiB",
          "copy it again, or compress it without --long");
    }
    may_end_ = status == 0;
    return {in.pos, out.pos};
  }

  bool may_end() const override { return may_end_; }

 private:
  std::string path_;
  ZSTD_DStream* stream_;
  bool may_end_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_zstd_decoder(const std::string& path) {
  return std::make_unique<ZstdDecoder>(path);
}

}  // namespace infinipipe

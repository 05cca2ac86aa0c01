#include "data/decoder.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::unique_ptr<Decoder> make_zstd_decoder(const std::string& path) {
  throw InputError(path, "is compressed by Zstandard",
                   "expected text, as this build cannot read it",
                   "decompress it, or install libzstd-dev and build again");
}

}  // namespace infinipipe

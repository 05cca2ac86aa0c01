#include "data/decoder.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::unique_ptr<Decoder> make_gzip_decoder(const std::string& path) {
  throw InputError(path, "is compressed by gzip", "expected text, as this build has no zlib",
                   "decompress it, or install zlib1g-dev and build again");
}

}  // namespace infinipipe

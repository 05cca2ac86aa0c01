// Compressed streams as streams of bytes. Each format has one owner file, and another for where its
// library is absent; CMake chooses.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace infinipipe {

// Not thread-safe.
class Decoder {
 public:
  struct Step {
    std::size_t consumed = 0;  // of the input
    std::size_t produced = 0;  // bytes of output
  };

  virtual ~Decoder() = default;

  // Takes what comes next, any number of bytes, and gives what it can. It may hold output back for
  // a call with more room and no input. Throws InputError naming the file for damaged data.
  virtual Step step(std::string_view input, std::span<char> output) = 0;
  // Whether the compressed data may end here: files of several parts joined are read as one.
  virtual bool may_end() const = 0;
};

// `path` is for messages. Throw InputError where this build lacks the library.
std::unique_ptr<Decoder> make_gzip_decoder(const std::string& path);
std::unique_ptr<Decoder> make_zstd_decoder(const std::string& path);

}  // namespace infinipipe

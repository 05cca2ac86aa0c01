// safetensors files and indexes of shards: tensors that are accepted fill the buffer, and no shard
// lies outside its folder. Input that starts with `{` is an index, all else a file.
#include "data/safetensors.h"
#include "fuzz/scratch_file.h"

namespace infinipipe::fuzz {
namespace {

void check_file(const SafetensorsFile& file) {
  std::uint64_t end = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    std::uint64_t values = 1;
    for (const std::int64_t size : tensor.info.shape) values *= static_cast<std::uint64_t>(size);
    require(tensor.bytes == values * tensor_dtype_width(tensor.info.dtype),
            "a tensor of another size than its shape");
    const StoredTensor* const found = file.find(tensor.info.name);
    require(found != nullptr && found->info.name == tensor.info.name, "a tensor without its name");
    end += tensor.bytes;
    unsigned sum = 0;
    for (const std::byte each : file.read(tensor)) sum += static_cast<unsigned>(each);
    require(sum <= 255U * tensor.bytes, "unreadable");  // every byte can be read
  }
  require(file.find("") == nullptr || file.find("")->info.name.empty(), "a name that is not there");
}

void check_index(const std::map<std::string, std::string>& shards) {
  for (const auto& [name, shard] : shards) {
    require(!shard.empty() && shard != "." && shard != ".." &&
                shard.find('/') == std::string::npos && shard.find('\0') == std::string::npos,
            "a shard outside its folder");
  }
}

void run(std::string_view bytes) {
  static const ScratchFolder scratch;
  const bool index = bytes.starts_with('{');
  const std::string path = scratch.put(index ? "index.json" : "model.safetensors", bytes);
  accepts([&] {
    if (index) {
      check_index(read_safetensors_index(path));
    } else {
      check_file(SafetensorsFile(path));
    }
  });
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}

#include "runtime/device_meter.h"

#include <c10/core/Allocator.h>

#include <memory>
#include <mutex>
#include <unordered_map>

namespace infinipipe {
namespace {

struct DeviceBlock {
  std::int64_t bytes = 0;
  MemoryOwner owner;
};

// Blocks in use, of all devices: under unified addressing no two share an address. Never destroyed,
// as tensors of static storage may be freed after main.
struct DeviceBlocks {
  std::mutex mutex;
  std::unordered_map<const void*, DeviceBlock> blocks;

  void take(const void* data, std::int64_t bytes, const MemoryOwner& owner) {
    const std::lock_guard lock(mutex);
    remove(data);
    blocks[data] = {bytes, owner};
    owner.meter->add(owner.purpose, bytes);
    owner.meter->note_largest(bytes);
  }

  void give(const void* data) {
    const std::lock_guard lock(mutex);
    remove(data);
  }

  bool move(const void* data, const MemoryOwner& owner) {
    const std::lock_guard lock(mutex);
    const auto found = blocks.find(data);
    if (found == blocks.end()) return false;
    DeviceBlock& block = found->second;
    block.owner.meter->add(block.owner.purpose, -block.bytes);
    block.owner = owner;
    owner.meter->add(owner.purpose, block.bytes);
    return true;
  }

 private:
  void remove(const void* data) {
    const auto found = blocks.find(data);
    if (found == blocks.end()) return;
    const DeviceBlock& block = found->second;
    block.owner.meter->add(block.owner.purpose, -block.bytes);
    blocks.erase(found);
  }
};

DeviceBlocks& device_blocks() {
  static DeviceBlocks* const instance = new DeviceBlocks;
  return *instance;
}

class Reporter final : public c10::MemoryReportingInfoBase {
 public:
  // `bytes` is negative for a block that is given back. The CPU has its own count.
  void reportMemoryUsage(void* data, std::int64_t bytes, std::size_t, std::size_t,
                         c10::Device device) override {
    if (device.is_cpu() || data == nullptr) return;
    if (bytes < 0) {
      device_blocks().give(data);
    } else {
      device_blocks().take(data, bytes, memory::current_owner());
    }
  }
  bool memoryProfilingEnabled() const override { return true; }
};

}  // namespace

DeviceReports::DeviceReports()
    : guard_(c10::DebugInfoKind::PROFILER_STATE, std::make_shared<Reporter>()) {}

namespace memory {

bool assign_device(const void* data, MemoryMeter& meter, MemoryPurpose purpose) {
  return device_blocks().move(data, {&meter, purpose});
}

}  // namespace memory

}  // namespace infinipipe

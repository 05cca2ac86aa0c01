#include "runtime/allocator.h"

#include <c10/core/CPUAllocator.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/base/units.h"
#include "runtime/block_pool.h"
#include "runtime/device_meter.h"

namespace infinipipe {

namespace {

constexpr std::size_t kHeaderBytes = 64;
constexpr std::uint64_t kMagic = 0x696e66697069706bULL;
constexpr std::uint32_t kPlainBlock = 0xffffffffU;
// Smaller blocks are malloc's business, which keeps them itself.
constexpr std::size_t kPoolFrom = 4096;

struct Header {
  std::uint64_t magic = kMagic;
  std::uint64_t bytes = 0;  // as asked for
  MemoryMeter* meter = nullptr;
  std::uint32_t size_class = kPlainBlock;
  MemoryPurpose purpose = MemoryPurpose::kWorkspace;
};
static_assert(sizeof(Header) <= kHeaderBytes);

thread_local MemoryOwner this_thread;  // no meter: unowned

std::atomic<bool> use_pool{true};

// Never destroyed: tensors of static storage may be freed after main.
BlockPool& pool() {
  static BlockPool* const instance = new BlockPool;
  return *instance;
}

Header* header_of(void* data) {
  return reinterpret_cast<Header*>(static_cast<char*>(data) - kHeaderBytes);
}

void free_block(void* data) {
  if (data == nullptr) return;
  Header* header = header_of(data);
  header->meter->add(header->purpose, -static_cast<std::int64_t>(header->bytes));
  header->magic = 0;
  if (header->size_class == kPlainBlock) {
    std::free(header);
  } else {
    pool().give({header, header->size_class});
  }
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &free_block, cpu};
    void* block = nullptr;
    std::uint32_t size_class = kPlainBlock;
    if (bytes >= kPoolFrom && use_pool.load(std::memory_order_relaxed)) {
      const BlockPool::Block taken = pool().take(bytes + kHeaderBytes);
      block = taken.data;
      size_class = static_cast<std::uint32_t>(taken.size_class);
    } else if (posix_memalign(&block, kHeaderBytes, bytes + kHeaderBytes) != 0) {
      throw std::bad_alloc();
    }
    const MemoryOwner owner = memory::current_owner();
    new (block) Header{kMagic, bytes, owner.meter, size_class, owner.purpose};
    owner.meter->add(owner.purpose, static_cast<std::int64_t>(bytes));
    owner.meter->note_largest(static_cast<std::int64_t>(bytes));
    void* data = static_cast<char*>(block) + kHeaderBytes;
    return {data, data, &free_block, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    default_copy_data(to, from, count);
  }
};

// All meters ever made; those given back are handed out again once nothing is on them.
struct MeterList {
  std::mutex mutex;
  std::deque<MemoryMeter> meters;
  std::vector<MemoryMeter*> released;
};

MeterList& meter_list() {
  static MeterList* const instance = new MeterList;
  return *instance;
}

void raise_to(std::atomic<std::int64_t>& most, std::int64_t value) {
  std::int64_t seen = most.load(std::memory_order_relaxed);
  while (seen < value && !most.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

std::int64_t MemoryMeter::reset_peak() {
  return peak_.exchange(total_.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

void MemoryMeter::add(MemoryPurpose purpose, std::int64_t bytes) {
  by_purpose_[static_cast<std::size_t>(purpose)].fetch_add(bytes, std::memory_order_relaxed);
  const std::int64_t now = total_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (bytes > 0) raise_to(peak_, now);
}

void MemoryMeter::note_largest(std::int64_t bytes) { raise_to(largest_, bytes); }

MemoryScope::MemoryScope(MemoryMeter& meter, MemoryPurpose purpose) : before_(this_thread) {
  this_thread = {&meter, purpose};
}

MemoryScope::~MemoryScope() { this_thread = before_; }

namespace memory {

void install() {
  // LibTorch takes the pointer and never frees it. 1 outranks the built-in allocator's 0.
  static const bool once = [] {
    c10::SetCPUAllocator(new CountingAllocator, 1);
    return true;
  }();
  (void)once;
}

bool installed() { return dynamic_cast<CountingAllocator*>(c10::GetCPUAllocator()) != nullptr; }

void set_pooled(bool pooled) { use_pool.store(pooled, std::memory_order_relaxed); }
bool pooled() { return use_pool.load(std::memory_order_relaxed); }

MemoryMeter& acquire_meter() {
  MeterList& list = meter_list();
  const std::lock_guard lock(list.mutex);
  for (std::size_t i = 0; i < list.released.size(); ++i) {
    MemoryMeter* meter = list.released[i];
    if (meter->live() != 0) continue;
    list.released.erase(list.released.begin() + static_cast<std::ptrdiff_t>(i));
    meter->reset_peak();
    meter->reset_largest();
    return *meter;
  }
  return list.meters.emplace_back();
}

void release_meter(MemoryMeter& meter) {
  MeterList& list = meter_list();
  const std::lock_guard lock(list.mutex);
  list.released.push_back(&meter);
}

MemoryMeter& unowned_meter() {
  static MemoryMeter* const instance = new MemoryMeter;
  return *instance;
}

MemoryOwner current_owner() {
  MemoryOwner owner = this_thread;
  if (owner.meter == nullptr) owner.meter = &unowned_meter();
  return owner;
}

void assign(const at::Tensor& tensor, MemoryMeter& meter, MemoryPurpose purpose) {
  if (!tensor.defined() || !tensor.has_storage()) return;
  const c10::DataPtr& data = tensor.storage().data_ptr();
  if (!data.device().is_cpu()) {
    assign_device(data.get(), meter, purpose);
    return;
  }
  if (data.get_context() == nullptr || data.get_deleter() != &free_block) return;
  Header* header = header_of(data.get_context());
  INFINIPIPE_ASSERT(header->magic == kMagic, "a tensor's block has lost its header");
  if (header->meter == &meter && header->purpose == purpose) return;
  const auto bytes = static_cast<std::int64_t>(header->bytes);
  header->meter->add(header->purpose, -bytes);
  header->meter = &meter;
  header->purpose = purpose;
  meter.add(purpose, bytes);
}

std::int64_t pooled_bytes() { return pool().free_bytes(); }
void trim(std::int64_t keep) { pool().trim(keep); }

}  // namespace memory

}  // namespace infinipipe

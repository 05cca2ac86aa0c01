#include "model/common/kv_store.h"

#include <ATen/ops/cat.h>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

std::int64_t bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

}  // namespace

void KvStore::append(SequenceId sequence, int layer, Tokens begin, at::Tensor key,
                     at::Tensor value) {
  auto& list = blocks_[{sequence, layer}];
  const Tokens stored = list.empty() ? 0 : list.back().end;
  INFINIPIPE_ASSERT(stored == begin, "a slice's forward ran before the one that precedes it");
  list.push_back({begin, begin + key.size(0), std::move(key), std::move(value), {}, {}});
}

std::span<KvBlock> KvStore::before(SequenceId sequence, int layer, Tokens begin, Tokens window) {
  if (begin == 0) return {};
  const auto found = blocks_.find({sequence, layer});
  INFINIPIPE_ASSERT(found != blocks_.end(), "a slice has context, but no keys are stored");
  auto& list = found->second;
  std::size_t count = 0;
  while (count < list.size() && list[count].end <= begin) ++count;
  INFINIPIPE_ASSERT(count > 0 && list[count - 1].end == begin,
                    "stored keys do not cover the slice's context");
  std::size_t first = 0;
  while (window > 0 && first < count && list[first].end <= begin - window + 1) ++first;
  return {list.data() + first, count - first};
}

KvBlock KvStore::take(SequenceId sequence, int layer, Tokens begin) {
  const auto found = blocks_.find({sequence, layer});
  INFINIPIPE_ASSERT(found != blocks_.end() && found->second.back().begin == begin,
                    "a slice's backward ran before that of the slice after it");
  KvBlock block = std::move(found->second.back());
  found->second.pop_back();
  if (found->second.empty()) blocks_.erase(found);
  return block;
}

void KvStore::join(SequenceId sequence, std::size_t most) {
  for (auto& [key, list] : blocks_) {
    if (key.first != sequence || list.size() <= most) continue;
    std::vector<at::Tensor> keys;
    std::vector<at::Tensor> values;
    for (const KvBlock& block : list) {
      INFINIPIPE_ASSERT(!block.key_grad.defined(), "blocks with gradients cannot be joined");
      keys.push_back(block.key);
      values.push_back(block.value);
    }
    const Tokens end = list.back().end;
    list.clear();
    list.push_back({0, end, at::cat(keys, 0), at::cat(values, 0), {}, {}});
  }
}

void KvStore::drop(SequenceId sequence, int layer) { blocks_.erase({sequence, layer}); }

std::int64_t KvStore::kv_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [key, list] : blocks_)
    for (const KvBlock& block : list) sum += bytes(block.key) + bytes(block.value);
  return sum;
}

std::int64_t KvStore::grad_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [key, list] : blocks_)
    for (const KvBlock& block : list) sum += bytes(block.key_grad) + bytes(block.value_grad);
  return sum;
}

}  // namespace infinipipe

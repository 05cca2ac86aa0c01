#include "runtime/shards.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// Elements that one member gives another at a time.
constexpr std::int64_t kPiece = 1 << 20;

at::Tensor flat(const at::Tensor& tensor) {
  INFINIPIPE_ASSERT(tensor.is_contiguous(), "what is shared out is contiguous");
  return tensor.view({-1});
}

// Piece `number` of a range; empty behind its end.
FlatRange piece(const FlatRange& range, std::int64_t number) {
  const std::int64_t begin = std::min(range.end, range.begin + number * kPiece);
  return {begin, std::min(range.end, begin + kPiece)};
}

// How many pieces the largest of all members' ranges has.
std::int64_t pieces(std::int64_t count, int size) {
  const std::int64_t largest = (count + size - 1) / size;
  return (largest + kPiece - 1) / kPiece;
}

at::Tensor part(const at::Tensor& all, const FlatRange& range) {
  return all.narrow(0, range.begin, range.count());
}

// What goes into one exchange; nothing for anybody at first. `like` says the dtype.
struct Parts {
  std::vector<at::Tensor> give;
  std::vector<std::int64_t> counts;

  Parts(const TensorGroup& group, const at::Tensor& like)
      : give(static_cast<std::size_t>(group.size()), like.narrow(0, 0, 0)),
        counts(static_cast<std::size_t>(group.size()), 0) {}

  void to(int member, const at::Tensor& tensor) { give[static_cast<std::size_t>(member)] = tensor; }
  void from(int member, std::int64_t count) { counts[static_cast<std::size_t>(member)] = count; }
  std::vector<at::Tensor> exchange(TensorGroup& group) {
    std::vector<at::Tensor> came = group.exchange(std::move(give), counts);
    for (std::size_t i = 0; i < came.size(); ++i) {
      INFINIPIPE_ASSERT(came[i].numel() == counts[i], "replicas exchange parts of other sizes");
    }
    return came;
  }
};

}  // namespace

FlatRange owned_range(std::int64_t count, int rank, int size) {
  return {count * rank / size, count * (rank + 1) / size};
}

at::Tensor owned_part(const at::Tensor& tensor, int rank, int size) {
  return part(flat(tensor), owned_range(tensor.numel(), rank, size));
}

void sum_to_owners(TensorGroup& group, const at::Tensor& tensor) {
  const int size = group.size();
  if (size == 1) return;
  const auto rank = static_cast<std::size_t>(group.rank());
  const at::Tensor all = flat(tensor);
  const auto piece_of = [&](int member, std::int64_t number) {
    return piece(owned_range(all.numel(), member, size), number);
  };
  for (std::int64_t number = 0; number < pieces(all.numel(), size); ++number) {
    const at::Tensor own = part(all, piece_of(group.rank(), number));
    Parts parts(group, all);
    for (int member = 0; member < size; ++member) {
      if (member == group.rank()) continue;
      parts.to(member, part(all, piece_of(member, number)));
      parts.from(member, own.numel());
    }
    const std::vector<at::Tensor> came = parts.exchange(group);
    // What came may be another's own memory, which only that one may change.
    at::Tensor sum = rank == 0 ? own : at::empty_like(own).copy_(came[0]);
    for (std::size_t member = 1; member < came.size(); ++member)
      sum.add_(member == rank ? own : came[member].to(own.device()));
    if (rank > 0) own.copy_(sum);
  }
}

void share_owned(TensorGroup& group, const at::Tensor& tensor) {
  const int size = group.size();
  if (size == 1) return;
  const at::Tensor all = flat(tensor);
  for (std::int64_t number = 0; number < pieces(all.numel(), size); ++number) {
    const auto piece_of = [&](int member) {
      return part(all, piece(owned_range(all.numel(), member, size), number));
    };
    Parts parts(group, all);
    for (int member = 0; member < size; ++member) {
      if (member == group.rank()) continue;
      parts.to(member, piece_of(group.rank()));
      parts.from(member, piece_of(member).numel());
    }
    const std::vector<at::Tensor> came = parts.exchange(group);
    for (int member = 0; member < size; ++member) {
      if (member != group.rank()) piece_of(member).copy_(came[static_cast<std::size_t>(member)]);
    }
  }
}

void copy_from_first(TensorGroup& group, const at::Tensor& tensor) {
  if (group.size() == 1) return;
  const at::Tensor all = flat(tensor);
  for (std::int64_t number = 0; number < pieces(all.numel(), 1); ++number) {
    const at::Tensor mine = part(all, piece({0, all.numel()}, number));
    Parts parts(group, all);
    if (group.rank() == 0) {
      for (int member = 1; member < group.size(); ++member) parts.to(member, mine);
    } else {
      parts.from(0, mine.numel());
    }
    const std::vector<at::Tensor> came = parts.exchange(group);
    if (group.rank() > 0) mine.copy_(came[0]);
  }
}

at::Tensor gather_to_first(TensorGroup& group, const at::Tensor& own, std::int64_t count) {
  const int size = group.size();
  if (size == 1) return own;
  Parts parts(group, own);
  if (group.rank() == 0) {
    for (int member = 1; member < size; ++member)
      parts.from(member, owned_range(count, member, size).count());
  } else {
    parts.to(0, own);
  }
  const std::vector<at::Tensor> came = parts.exchange(group);
  if (group.rank() > 0) return {};
  at::Tensor whole = at::empty({count}, own.options());
  for (int member = 0; member < size; ++member) {
    part(whole, owned_range(count, member, size))
        .copy_(member == 0 ? own : came[static_cast<std::size_t>(member)]);
  }
  return whole;
}

void scatter_from_first(TensorGroup& group, const at::Tensor& whole, const at::Tensor& own,
                        std::int64_t count) {
  const int size = group.size();
  Parts parts(group, own);
  if (group.rank() == 0) {
    const at::Tensor all = flat(whole).to(own.device());
    own.copy_(part(all, owned_range(count, 0, size)));
    for (int member = 1; member < size; ++member)
      parts.to(member, part(all, owned_range(count, member, size)));
  } else {
    parts.from(0, own.numel());
  }
  if (size == 1) return;
  const std::vector<at::Tensor> came = parts.exchange(group);
  if (group.rank() > 0) own.copy_(came[0]);
}

}  // namespace infinipipe

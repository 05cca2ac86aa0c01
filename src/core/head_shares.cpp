#include "core/head_shares.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// Query heads of the devices with most and with fewest.
struct Shares {
  std::int64_t most = 0;
  std::int64_t fewest = 0;
};

Shares shares_of(const HeadCounts& heads, int degree) {
  Shares shares{0, heads.query};
  for (int rank = 0; rank < degree; ++rank) {
    const std::int64_t count = head_share(heads, rank, degree).query;
    shares = {std::max(shares.most, count), std::min(shares.fewest, count)};
  }
  return shares;
}

// "1 to 8, 16, 32".
std::string allowed_degrees(const HeadCounts& heads) {
  std::string text = heads.key_value == 1 ? "1" : "1 to " + std::to_string(heads.key_value);
  for (std::int64_t degree = 2 * heads.key_value; degree <= heads.query;
       degree += heads.key_value) {
    text += ", " + std::to_string(degree);
  }
  return text;
}

}  // namespace

HeadShare head_share(const HeadCounts& heads, int rank, int degree) {
  INFINIPIPE_ASSERT(heads.known() && heads_allow(heads, degree), "heads that cannot be shared so");
  const std::int64_t each = heads.query / heads.key_value;
  if (degree <= heads.key_value) {
    const std::int64_t begin = heads.key_value * rank / degree;
    const std::int64_t count = heads.key_value * (rank + 1) / degree - begin;
    return {begin * each, count * each, begin, count};
  }
  const std::int64_t devices = degree / heads.key_value;  // of one key-value head
  const std::int64_t head = rank / devices;
  const std::int64_t place = rank % devices;
  const std::int64_t begin = each * place / devices;
  return {head * each + begin, each * (place + 1) / devices - begin, head, 1};
}

bool heads_allow(const HeadCounts& heads, int degree) {
  INFINIPIPE_ASSERT(degree >= 1, "a group of no devices");
  if (!heads.known() || degree <= heads.key_value) return true;
  return degree % heads.key_value == 0 && degree <= heads.query;
}

std::string heads_refusal(const HeadCounts& heads, int degree) {
  if (heads_allow(heads, degree)) return {};
  std::string text = std::to_string(degree) + " devices cannot share " +
                     std::to_string(heads.query) +
                     (heads.query == 1 ? " attention head" : " attention heads");
  if (heads.key_value < heads.query) {
    text += " with " + std::to_string(heads.key_value) + " of keys and values";
  }
  return text;
}

void require_heads(const HeadCounts& heads, int degree) {
  if (heads_allow(heads, degree)) return;
  throw InputError("parallelism.sequence_parallel", heads_refusal(heads, degree),
                   "expected one of " + allowed_degrees(heads),
                   "choose another degree, or say how many heads the model has");
}

double head_imbalance(const HeadCounts& heads, int degree) {
  if (!heads.known() || !heads_allow(heads, degree)) return 1.0;
  return static_cast<double>(shares_of(heads, degree).most) * degree /
         static_cast<double>(heads.query);
}

std::string uneven_heads(const HeadCounts& heads, int degree) {
  if (head_imbalance(heads, degree) == 1.0) return {};
  const Shares shares = shares_of(heads, degree);
  return "heads uneven: " + std::to_string(shares.most) + " or " + std::to_string(shares.fewest) +
         " a device";
}

}  // namespace infinipipe

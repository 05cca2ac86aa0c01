#include <gtest/gtest.h>

#include "model/common/fused/choose.h"
#include "support/host_block.h"
#include "unit/model/common/fused/numbers.h"

namespace infinipipe::fused {
namespace {

using testing::HostRun;

struct Shape {
  int query_heads, kv_heads, dim;  // dim in packs
  std::int64_t tokens;
};
constexpr Shape kShapes[] = {{1, 1, 2, 1}, {3, 1, 6, 5}, {4, 2, 8, 3}, {20, 5, 16, 2}};
constexpr std::int64_t kPositions = 40;

TEST(FusedRope, SplitAndMerge) {
  Random random(5);
  for (const Type type : kTypes) {
    for (const Shape& shape : kShapes) {
      const int dim = shape.dim * pack_of(type), half = dim / 2;
      const std::int64_t q = shape.query_heads * dim, kv = shape.kv_heads * dim, n = shape.tokens;
      SCOPED_TRACE(::testing::Message() << q << " " << kv << " " << dim);
      ASSERT_TRUE(serves_rope(type, dim));
      Array qkv(type, n * (q + 2 * kv)), table(Type::kFloat32, kPositions * dim);
      Array query(type, n * q), key(type, n * kv), value(type, n * kv);
      qkv.fill(random);
      std::vector<double> angles(static_cast<std::size_t>(kPositions * dim));
      for (std::size_t i = 0; i < angles.size(); ++i) angles[i] = 2.0 * random.uniform() - 1.0;
      table.fill(angles);
      std::vector<std::int64_t> positions;
      for (std::int64_t i = 0; i < n; ++i) positions.push_back(random.between(0, kPositions - 1));

      // The projection's row with each head of queries and keys rotated; direction -1: back.
      const auto rotated = [&](std::vector<double> rows, double direction) {
        const std::vector<double> rounded = table.values();
        for (std::int64_t i = 0; i < n; ++i) {
          const double* cosine = rounded.data() + positions[static_cast<std::size_t>(i)] * dim;
          for (std::int64_t h = 0; h < shape.query_heads + shape.kv_heads; ++h) {
            double* head = rows.data() + i * (q + 2 * kv) + h * dim;
            for (int j = 0; j < half; ++j) {
              const double a = head[j], b = head[j + half], sine = direction * cosine[j + half];
              head[j] = a * cosine[j] - b * sine;
              head[j + half] = b * cosine[j] + a * sine;
            }
          }
        }
        return rows;
      };
      const auto joined = [&] {
        std::vector<double> rows;
        for (std::int64_t i = 0; i < n; ++i) {
          for (const auto& [part, width] : {std::pair(&query, q), {&key, kv}, {&value, kv}}) {
            const std::vector<double> all = part->values();
            rows.insert(rows.end(), all.begin() + i * width, all.begin() + (i + 1) * width);
          }
        }
        return rows;
      };

      const RopeWork common{
          type,           type, positions.data(), table.data<float>(), n, shape.query_heads,
          shape.kv_heads, dim};
      launch(RopeSplitWork{common, qkv.data(), query.data(), key.data(), value.data()}, HostRun{});
      EXPECT_LE(relative_error(joined(), rotated(qkv.values(), 1.0)), bound(type));

      Array merged(type, n * (q + 2 * kv)), again(type, n * (q + 2 * kv));
      launch(RopeMergeWork{common, query.data(), key.data(), value.data(), merged.data()},
             HostRun{});
      EXPECT_LE(relative_error(merged.values(), rotated(joined(), -1.0)), bound(type));
      // Gradients in float32 give the same.
      Array wide_query(Type::kFloat32, n * q), wide_key(Type::kFloat32, n * kv);
      Array wide_value(Type::kFloat32, n * kv);
      wide_query.fill(query.values()), wide_key.fill(key.values());
      wide_value.fill(value.values());
      RopeMergeWork wide{common, wide_query.data(), wide_key.data(), wide_value.data(),
                         again.data()};
      wide.grad_type = Type::kFloat32;
      launch(wide, HostRun{});
      EXPECT_EQ(again.values(), merged.values());
    }
    EXPECT_FALSE(serves_rope(type, pack_of(type)));  // half a head is half a pack
  }
}

}  // namespace
}  // namespace infinipipe::fused

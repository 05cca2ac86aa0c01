// All tests of this program run with one thread unless they say otherwise: small tensors gain
// nothing from more, and threads that wait for each other are slow on a busy machine.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace infinipipe {
namespace {

class OneThread : public ::testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
const auto* const environment = ::testing::AddGlobalTestEnvironment(new OneThread);

TEST(Threads, OneByDefault) {
  EXPECT_NE(environment, nullptr);
  EXPECT_EQ(at::get_num_threads(), 1);
}

}  // namespace
}  // namespace infinipipe

#include "report/needle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

NeedleLosses losses() { return {{512, 1024}, {0.0, 1.0}, {{0.0, 1.0}, {2.0, 4.0}}, {2.0, 2.5}}; }

TEST(Needle, TableHasALineALengthAndAColumnADepth) {
  EXPECT_EQ(needle_table(losses()),
            "needle: loss of the pass key's tokens, by depth of the sentence\n"
            "      length     0%   100%  without it\n"
            "         512   0.00   1.00        2.00\n"
            "       1,024   2.00   4.00        2.50\n");
}

TEST(Needle, PageIsGreenWhereTheKeyIsKnownAndRedWhereItIsGuessed) {
  const std::string page = needle_page(losses(), "runs/<a>");
  EXPECT_THAT(page, HasSubstr("runs/&lt;a&gt;"));
  EXPECT_THAT(page, HasSubstr("hsl(120 60% 78%)\" title=\"0.0000 nats a token\">0.00</td>"));
  EXPECT_THAT(page, HasSubstr("hsl(60 60% 78%)\" title=\"1.0000 nats a token\">1.00</td>"));
  EXPECT_THAT(page, HasSubstr("hsl(24 60% 78%)\" title=\"2.0000 nats a token\">2.00</td>"));
  EXPECT_THAT(page, HasSubstr("hsl(0 60% 78%)\" title=\"4.0000 nats a token\">4.00</td>"));
}

TEST(Needle, JsonHasTheArrays) {
  EXPECT_EQ(needle_json(losses()).dump(),
            R"({"lengths":[512,1024],"depths":[0.0,1.0],"loss":[[0.0,1.0],[2.0,4.0]],)"
            R"("without":[2.0,2.5]})");
}

}  // namespace
}  // namespace infinipipe

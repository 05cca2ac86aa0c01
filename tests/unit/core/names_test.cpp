#include "core/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "infinipipe/base/error.h"
#include "infinipipe/core/device.h"
#include "infinipipe/core/dtype.h"
#include "infinipipe/core/long_documents.h"
#include "support/doc_table.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;

struct Row {
  const char* name;
};
constexpr std::array<Row, 2> kRows = {{{"apple"}, {"pear"}}};

TEST(Names, AreFoundInTheirTable) {
  EXPECT_THAT(names_of(kRows), ElementsAre("apple", "pear"));
  EXPECT_EQ(find_named(kRows, "pear"), &kRows[1]);
  EXPECT_EQ(find_named(kRows, "pea"), nullptr);
  EXPECT_EQ(find_named(kRows, ""), nullptr);
  EXPECT_EQ(&named(kRows, "apple", "fruit"), kRows.data());
}

TEST(Names, AreListedInWords) {
  EXPECT_EQ(listed({}), "");
  EXPECT_EQ(listed({"a"}), "a");
  EXPECT_EQ(listed({"a", "b"}), "a or b");
  EXPECT_EQ(listed({"a", "b", "c"}), "a, b or c");
  EXPECT_EQ(listed({"a", "b", "c"}, ",", ","), "a,b,c");
}

TEST(Names, ThatAreNoneAreRefusedWithTheNearest) {
  const auto refusal = [](const std::string& name) -> std::string {
    try {
      named(kRows, name, "fruit", "unknown fruit");
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal("peer"),
            "fruit: unknown fruit 'peer', expected apple or pear; did you mean pear?");
  EXPECT_EQ(refusal("stone axe"), "fruit: unknown fruit 'stone axe', expected apple or pear");
  EXPECT_EQ(refusal(""), "fruit: unknown fruit '', expected apple or pear");
  EXPECT_EQ(refusal(std::string(1000, 'a')),
            "fruit: unknown fruit '" + std::string(60, 'a') + "', expected apple or pear");
}

template <class Rows>
void expect_enum_order(const Rows& rows) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(rows[i].value), i);
    EXPECT_EQ(&row_of(rows[i].value), &rows[i]);
    EXPECT_STREQ(to_string(rows[i].value), rows[i].name);
    EXPECT_STRNE(rows[i].line, "");
    EXPECT_TRUE(names.insert(rows[i].name).second) << rows[i].name;
  }
}

TEST(Dtypes, StandInTheOrderOfTheEnum) { expect_enum_order(kDtypes); }

TEST(Dtypes, HaveBytesThatAddUp) {
  for (const DtypeRow& row : kDtypes) {
    const DtypeBytes& bytes = row.bytes;
    const bool master = bytes.element < bytes.gradient;  // a weight of the gradient's width as well
    EXPECT_EQ(bytes.state,
              bytes.element + (master ? bytes.gradient : 0.0) + bytes.gradient + bytes.moments)
        << row.name;
    EXPECT_EQ(bytes.moments, 2.0 * bytes.gradient) << row.name;
    EXPECT_GE(bytes.accumulator, bytes.element) << row.name;
    EXPECT_GT(row.weight_share, 0.0) << row.name;
    EXPECT_LE(row.weight_share, 0.25) << row.name;
  }
}

TEST(Dtypes, AreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("training.md", "dtype"), testing::doc_rows(kDtypes));
}

TEST(Devices, StandInTheOrderOfTheEnum) { expect_enum_order(kDevices); }

TEST(Devices, AreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("training.md", "device"), testing::doc_rows(kDevices));
}

TEST(LongDocuments, StandInTheOrderOfTheEnum) {
  for (const LongDocumentsRow& row : kLongDocuments) EXPECT_STREQ(to_string(row.value), row.name);
}

TEST(LongDocuments, AreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("data.md", "long_documents"), testing::doc_rows(kLongDocuments));
}

}  // namespace
}  // namespace infinipipe

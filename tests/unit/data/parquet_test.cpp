// Parquet files, which the tests have DuckDB itself write.
#include <cstdlib>

#include "build_testing.h"
#include "data/parquet_reader.h"
#include "data/worker_programs.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ParquetTest : public BuildTest {
 protected:
  // What the SQL query selects, as text/NAME. No single quotes in the query.
  void parquet(const std::string& name, const std::string& query,
               const std::string& options = "") const {
    put("write.py",
        "import duckdb, sys\nduckdb.execute(\"COPY (\" + sys.argv[1] + \") TO '\" + "
        "sys.argv[2] + \"' (FORMAT parquet\" + sys.argv[3] + \")\")\n");
    const std::string command = std::string(kSetUpPython) + " '" + in("write.py") + "' '" + query +
                                "' '" + in("text/" + name) + "' '" + options + "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
};

TEST_F(ParquetTest, RowsAreDocumentsBetweenOtherFiles) {
  put("text/a.txt", "first");
  parquet("b.parquet",
          "SELECT i AS id, chr(97 + i::int) || chr(8364) || chr(10) AS text "
          "FROM range(5) t(i)",
          ", ROW_GROUP_SIZE 2");
  put("text/c.jsonl", R"({"text": "last"})");
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("first", "a€\n", "b€\n", "c€\n", "d€\n", "e€\n", "last"));
  EXPECT_EQ(result.files, 3);
  const std::string alike = bytes();
  options_.piece_bytes = 1;
  build_dataset(options_);
  EXPECT_EQ(bytes(), alike);
}

TEST_F(ParquetTest, ColumnsAreChosenAsFieldsAre) {
  parquet("[a]*.data",
          "SELECT {body: $$x$$} AS doc, $$no$$ AS text, $$p$$ AS prompt, "
          "$$c$$ AS completion");
  options_.text_field = "doc.body";
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("x"));
  options_.text_field = "other";
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("pc"));
  EXPECT_THAT(IndexedDataset(options_.output).weights(0), ElementsAre(0, 1, 1));
}

TEST_F(ParquetTest, WhatIsNoTextIsNamed) {
  parquet("a.parquet", "SELECT CASE WHEN i < 3000 THEN $$x$$ END AS text FROM range(3001) t(i)");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("a.parquet: row 3001: text"), HasSubstr("found null")));
  options_.on_bad_line = OnBadLine::kSkip;
  EXPECT_EQ(build_dataset(options_).bad_lines, 1);
  parquet("a.parquet", "SELECT 7 AS text");
  EXPECT_THAT(error_of([&] { build_dataset(options_); }), HasSubstr("column 'text' holds INTEGER"));
  parquet("a.parquet", "SELECT 7 AS id, 8 AS other");
  EXPECT_THAT(error_of([&] { build_dataset(options_); }),
              HasSubstr("has no column 'text', but 'id', 'other'"));
}

TEST_F(ParquetTest, DamagedFilesAreOneLine) {
  parquet("a.parquet", "SELECT repeat(i::varchar, 99) AS text FROM range(500) t(i)");
  const std::string whole = read_file(in("text/a.parquet"));
  for (const std::string& damaged :
       {std::string(), whole.substr(0, 40), whole.substr(0, whole.size() - 1),
        whole.substr(0, 4) + std::string(whole.size() - 8, '\xff') + "PAR1",
        whole.substr(0, 8) + std::string(60, '\0') + whole.substr(68)}) {
    put("text/a.parquet", damaged);
    EXPECT_THAT(refusal(), HasSubstr("a.parquet")) << damaged.size();
  }
}

TEST_F(ParquetTest, WithoutTheLibraryItSaysWhatToInstall) {
  put("text/a.parquet", "PAR1 and more PAR1");
  put("python", "#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n");  // no packages
  std::filesystem::permissions(in("python"), std::filesystem::perms::owner_all);
  ::setenv("INFINIPIPE_PYTHON", in("python").c_str(), 1);
  const std::string missing = error_of<RunError>([&] { build_dataset(options_); });
  ::unsetenv("INFINIPIPE_PYTHON");
  EXPECT_THAT(missing, AllOf(HasSubstr("a.parquet: the Python package duckdb is missing from"),
                             HasSubstr("pip install duckdb==")));
}

}  // namespace
}  // namespace infinipipe

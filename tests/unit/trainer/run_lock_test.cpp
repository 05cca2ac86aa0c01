#include "trainer/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/file.h"
#include "infinipipe/base/error.h"
#include "trainer/run_record.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

TEST(RunLock, OneAtATime) {
  const std::string folder =
      (std::filesystem::path(::testing::TempDir()) / ("lock." + std::to_string(::getpid())))
          .string();
  make_folder(folder);
  const auto warn = [](const std::string& line) { FAIL() << line; };
  std::optional<RunLock> first(std::in_place, folder, warn);
  try {
    const RunLock second(folder, warn);
    FAIL() << "two hold it";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("found " + folder + " in use by process " +
                                        std::to_string(::getpid()) + " on "));
  }
  first.reset();
  const RunLock third(folder, warn);
  EXPECT_NO_THROW(RunLock("", warn));
  std::filesystem::remove_all(folder);
}

TEST(RunRecord, IdsDifferAndAllOfItIsKept) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.insert(new_run().id);
  EXPECT_EQ(ids.size(), 100U);
  RunRecord record;
  EXPECT_EQ(record.goodput(), 1.0);
  record = {"0123456789abcdef", 1234, 5.5, 3, 0.25};
  const RunRecord read = run_record(to_json(record), "manifest.json");
  EXPECT_EQ(to_json(read), to_json(record));
  EXPECT_EQ(run_record(nullptr, "manifest.json").id, "") << "of an older checkpoint";
  Json bad = to_json(record);
  bad["tokens"] = -1;
  EXPECT_THROW(run_record(bad, "manifest.json"), InputError);
}

}  // namespace
}  // namespace infinipipe

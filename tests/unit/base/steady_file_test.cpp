#include "infinipipe/base/steady_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class SteadyFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = (fs::path(testing::TempDir()) / ("infinipipe_steady." + std::to_string(::getpid())))
                  .string();
    make_folder(folder_);
    write_file(path(), std::string(10'000, 'a') + "end");
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path() const { return folder_ + "/file"; }

  static std::string read(const SteadyFile& file, std::uint64_t offset, std::size_t count) {
    std::string text(count, ' ');
    file.read(offset, std::as_writable_bytes(std::span(text)));
    return text;
  }
  static std::string failure(const SteadyFile& file, std::uint64_t offset, std::size_t count) {
    try {
      read(file, offset, count);
    } catch (const RunError& error) {
      return error.what();
    }
    return "it was read";
  }

  std::string folder_;
};

TEST_F(SteadyFileTest, ReadsByPlace) {
  const SteadyFile file(path());
  EXPECT_EQ(file.size(), 10'003U);
  EXPECT_EQ(read(file, 9'999, 4), "aend");
  EXPECT_EQ(read(file, 10'003, 0), "");
  EXPECT_THROW(read(file, 10'000, 4), std::logic_error);
}

TEST_F(SteadyFileTest, AFileThatShrinksIsNamed) {
  const SteadyFile file(path());
  fs::resize_file(path(), 5'000);
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{4'999}, std::uint64_t{9'000}}) {
    EXPECT_THAT(failure(file, offset, 100),
                HasSubstr("file: was changed while it was in use, from 10003 to 5000 bytes"));
  }
}

TEST_F(SteadyFileTest, AFileThatIsOverwrittenInPlaceIsNamed) {
  const SteadyFile file(path());
  std::fstream(path(), std::ios::in | std::ios::out) << "b";
  // The clock of file times may be coarse: this one is set as a later write would.
  const std::array<timespec, 2> later = {{{0, UTIME_OMIT}, {4'000'000'000, 0}}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path().c_str(), later.data(), 0), 0);
  EXPECT_THAT(failure(file, 0, 1), HasSubstr("file: was changed while it was in use"));
}

TEST_F(SteadyFileTest, AFileThatIsReplacedIsReadOnAsItWas) {
  const SteadyFile file(path());
  write_file(path(), "another");
  EXPECT_EQ(read(file, 10'000, 3), "end");
}

TEST_F(SteadyFileTest, WhatIsNoFileIsRefused) {
  EXPECT_THROW(SteadyFile{folder_ + "/none"}, InputError);
  EXPECT_THROW(SteadyFile{folder_}, InputError);
  EXPECT_THROW(SteadyFile{"/dev/null"}, InputError);
}

}  // namespace
}  // namespace infinipipe

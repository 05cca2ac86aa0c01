#include "infinipipe/base/file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override { make_folder(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string folder_ = (fs::path(testing::TempDir()) / "infinipipe_file_test").string();
};

TEST_F(FileTest, WritesReadsAndReplaces) {
  const std::string path = folder_ + "/a";
  write_file(path, "one");
  write_file(path, std::string("two\0x", 5));
  EXPECT_EQ(read_file(path), std::string("two\0x", 5));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "a temporary file is left";
}

TEST_F(FileTest, AFailedWriteLeavesTheOldContent) {
  EXPECT_THROW(write_file(folder_ + "/no/such/folder", "x"), RunError);
  fs::create_directory(folder_ + "/b");
  EXPECT_THROW(write_file(folder_ + "/b", "x"), RunError);  // a folder cannot be renamed over
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(FileTest, MissingFilesAndFoldersAreNamed) {
  EXPECT_THROW(read_file(folder_ + "/none"), InputError);
  EXPECT_THROW(read_file(folder_), InputError);
  EXPECT_THROW(MappedFile(folder_ + "/none"), InputError);
}

TEST_F(FileTest, RefusesFilesOverTheLimit) {
  write_file(folder_ + "/a", std::string(100, 'x'));
  EXPECT_THROW(read_file(folder_ + "/a", 99), InputError);
  EXPECT_EQ(read_file(folder_ + "/a", 100).size(), 100U);
}

TEST_F(FileTest, MapsFiles) {
  write_file(folder_ + "/a", "abc");
  write_file(folder_ + "/empty", "");
  MappedFile map(folder_ + "/a");
  MappedFile moved(std::move(map));
  ASSERT_EQ(moved.bytes().size(), 3U);
  EXPECT_EQ(static_cast<char>(moved.bytes()[2]), 'c');
  EXPECT_TRUE(MappedFile(folder_ + "/empty").bytes().empty());
}

}  // namespace
}  // namespace infinipipe

#include "infinipipe/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

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

TEST_F(FileTest, ALinkStaysALink) {
  make_folder(folder_ + "/far");
  write_file(folder_ + "/far/file", "old");
  fs::create_symlink("far/file", folder_ + "/link");
  write_file(folder_ + "/link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ + "/link"));
  EXPECT_EQ(read_file(folder_ + "/far/file"), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ + "/far"), {}), 1);
}

TEST_F(FileTest, WhatIsNoRegularFileIsWrittenToAndNotReplaced) {
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = read_file(pipe); });
  write_file(pipe, "through");
  reader.join();
  EXPECT_EQ(read, "through");
  EXPECT_TRUE(fs::is_fifo(pipe));
  fs::create_symlink("/dev/null", folder_ + "/nowhere");
  write_file(folder_ + "/nowhere", "gone");
  EXPECT_TRUE(fs::is_symlink(folder_ + "/nowhere"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(FileTest, AFolderThatCannotBeWrittenIsRefused) {
  require_writable_folder(folder_);
  require_writable_folder(folder_ + "/to/be/made/");
  EXPECT_TRUE(fs::is_empty(folder_));
  write_file(folder_ + "/a", "x");
  EXPECT_THROW(require_writable_folder(folder_ + "/a"), RunError);
  EXPECT_THROW(require_writable_folder(folder_ + "/a/b"), RunError);
  EXPECT_THROW(require_writable_folder("/proc"), RunError);
}

TEST_F(FileTest, ALockIsHeldByOneAtATime) {
  const std::string path = folder_ + "/lock";
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> waits{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const FileLock lock(path, [&waits] { ++waits; });
      most = std::max(most.load(), ++inside);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      --inside;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_GE(waits, 3);
  const FileLock held(path);
  EXPECT_THROW(FileLock(path, [] { throw Stopped("test"); }), Stopped);
  const FileLock nowhere(folder_ + "/no/such/folder/lock");  // holds nothing, and says nothing
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

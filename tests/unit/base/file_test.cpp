#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/name_lock.h"
#include "base/temporary_file.h"
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

TEST_F(FileTest, AFileThatIsTooLargeIsNotRead) {
  const std::string path = folder_ + "/sparse";
  write_file(path, "");
  fs::resize_file(path, std::uintmax_t{1} << 42);  // more than any memory
  try {
    read_file(path, 1000);
    FAIL() << "it was read";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 (path + ": is larger than 1000 bytes, expected a smaller file").c_str());
  }
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST_F(FileTest, NothingIsWrittenThroughALinkOfTheTemporaryName) {
  make_folder(folder_ + "/links");
  const std::string path = folder_ + "/links/out";
  const std::string victim = folder_ + "/victim";
  write_file(victim, "precious");
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  fs::create_symlink(victim, temporary);
  fs::create_symlink(folder_ + "/made", temporary + ".1");  // to nothing: must not be made
  write_file(path, "content");
  EXPECT_EQ(read_file(path), "content");
  EXPECT_EQ(read_file(victim), "precious");
  EXPECT_FALSE(fs::exists(folder_ + "/made"));
  EXPECT_TRUE(fs::is_symlink(temporary)) << "it is not ours to remove";
  EXPECT_FALSE(fs::is_symlink(path));
  EXPECT_EQ(names_in(folder_ + "/links").size(), 3U);
}

// What a process writes that is killed before it is done stays until the next one writes.
TEST_F(FileTest, WhatAKilledProcessLeftIsRemovedAndWhatALiveOneWritesIsNot) {
  const std::string folder = folder_ + "/killed";
  make_folder(folder);
  const auto writer = [&](int& ready) {
    int pipes[2];
    EXPECT_EQ(::pipe(pipes), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      TemporaryFile file(folder + "/out");
      file.write(std::as_bytes(std::span("half", 4)));
      if (::write(pipes[1], "x", 1) != 1) ::_exit(1);
      while (true) ::pause();
    }
    ::close(pipes[1]);
    ready = pipes[0];
    char byte = 0;
    EXPECT_EQ(::read(ready, &byte, 1), 1);
    return child;
  };
  const auto end = [](pid_t child, int ready) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready);
  };
  int ready = 0;
  const pid_t killed = writer(ready);
  end(killed, ready);
  const pid_t live = writer(ready);
  const std::string stale = "out.tmp." + std::to_string(killed);
  const std::string held = "out.tmp." + std::to_string(live);
  write_file(folder + "/outer.tmp.1", "a file of another name");
  write_file(folder + "/out.tmp.1x", "no name of ours");
  EXPECT_EQ(std::filesystem::exists(folder + "/" + stale), false)
      << "the second writer was a next start";
  write_file(folder + "/out", "whole");
  EXPECT_THAT(names_in(folder),
              ::testing::UnorderedElementsAre("out", held, "out.tmp.1x", "outer.tmp.1"));
  end(live, ready);
  EXPECT_EQ(read_file(folder + "/out"), "whole");
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

TEST_F(FileTest, ALinkToNothingIsFollowedWhereItsFolderIsThere) {
  make_folder(folder_ + "/far");
  fs::create_symlink("far/new", folder_ + "/first");
  fs::create_symlink("first", folder_ + "/link");
  write_file(folder_ + "/link", "content");
  EXPECT_TRUE(fs::is_symlink(folder_ + "/link"));
  EXPECT_TRUE(fs::is_symlink(folder_ + "/first"));
  EXPECT_EQ(read_file(folder_ + "/far/new"), "content");

  const auto refusal = [&](const std::string& path) {
    try {
      write_file(path, "content");
    } catch (const RunError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  fs::create_symlink("none/file", folder_ + "/lost");
  EXPECT_THAT(refusal(folder_ + "/lost"),
              ::testing::AllOf(::testing::StartsWith(folder_ + "/lost: is a link to "),
                               ::testing::HasSubstr("none/file, whose folder is not there")));
  EXPECT_TRUE(fs::is_symlink(folder_ + "/lost"));
  fs::create_symlink("self", folder_ + "/self");
  EXPECT_THAT(refusal(folder_ + "/self"), ::testing::HasSubstr("leads back to itself"));
  EXPECT_TRUE(fs::is_symlink(folder_ + "/self"));
  EXPECT_EQ(names_in(folder_).size(), 5U);
}

TEST_F(FileTest, WhatIsHeldCanBeRemovedWithoutUnwinding) {
  const std::string folder = folder_ + "/ends";
  make_folder(folder);
  const pid_t child = ::fork();
  if (child == 0) {
    TemporaryFile done(folder + "/done");
    done.commit();
    TemporaryFile half(folder + "/half");
    remove_temporary_files();
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_THAT(names_in(folder), ::testing::ElementsAre("done"));
}

TEST_F(FileTest, ANameIsHeldByOneAndLeavesNothing) {
  const std::string name = folder_ + "/out";
  const std::string path = name + ".lock";
  {
    const NameLock held(name);
    EXPECT_THROW(NameLock{name}, RunError);
    EXPECT_THROW(NameLock{name}, RunError);
  }
  EXPECT_FALSE(fs::exists(path));
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const NameLock held(name);
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  char byte = 0;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(NameLock{name}, RunError);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(fs::exists(path)) << "nobody was there to remove it";
  { const NameLock held(name); }
  EXPECT_FALSE(fs::exists(path));
  write_file(path, "a file of someone else");
  { const NameLock held(name); }
  EXPECT_EQ(read_file(path), "a file of someone else");
  fs::remove(path);
  fs::create_symlink(folder_ + "/elsewhere", path);
  EXPECT_THROW(NameLock{name}, RunError);
  EXPECT_FALSE(fs::exists(folder_ + "/elsewhere"));
}

// The one that ends removes the file while others have it open and wait for their turn.
TEST_F(FileTest, ANameIsHeldByOneHoweverTheyRace) {
  const std::string name = folder_ + "/out";
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> held{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        try {
          const NameLock lock(name);
          most = std::max(most.load(), ++inside);
          ++held;
          --inside;
        } catch (const RunError&) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_GT(held, 100);
  EXPECT_TRUE(fs::is_empty(folder_));
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

// In /dev lie also files like any, which are replaced: a file system in memory, say.
TEST_F(FileTest, AFileInMemoryIsReplacedAndOneThatIsOpenIsNot) {
  if (::access("/dev/shm", W_OK) == 0) {
    const std::string path = "/dev/shm/infinipipe_file_test." + std::to_string(::getpid());
    write_file(path, "old");
    write_file(path, "new");
    EXPECT_EQ(read_file(path), "new");
    fs::remove(path);
  }
  const std::string path = folder_ + "/open";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(fd, 0);
  for (const char* text : {"one ", "two"}) write_file("/dev/fd/" + std::to_string(fd), text);
  ::close(fd);
  EXPECT_EQ(read_file(path), "one two");
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
}

TEST_F(FileTest, RefusesFilesOverTheLimit) {
  write_file(folder_ + "/a", std::string(100, 'x'));
  EXPECT_THROW(read_file(folder_ + "/a", 99), InputError);
  EXPECT_EQ(read_file(folder_ + "/a", 100).size(), 100U);
}

}  // namespace
}  // namespace infinipipe

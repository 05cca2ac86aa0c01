// Scratch folders, and errors as users read them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

// A folder of this test's own, removed at its end.
class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    std::string name = std::string(test->test_suite_name()) + "." + test->name();
    for (char& c : name) {
      if (c == '/') c = '_';
    }
    folder_ = (std::filesystem::path(testing::TempDir()) /
               ("infinipipe." + std::to_string(::getpid()) + "." + name))
                  .string();
    std::filesystem::remove_all(folder_);
    make_folder(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string in(const std::string& name) const { return folder_ + "/" + name; }
  // Writes a file below the folder, with the folders it needs; returns its path.
  std::string put(const std::string& name, std::string_view content) const {
    const std::filesystem::path path = in(name);
    make_folder(path.parent_path().string());
    // Not write_file(): its syncing takes long for hundreds of files.
    std::ofstream file(path, std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    EXPECT_TRUE(file.good());
    return path.string();
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string folder_;
};

// The message of the Error that `action` throws; "" (and a failed test) if it throws none.
template <class ErrorType = InputError, class Action>
std::string error_of(Action&& action) {
  try {
    action();
  } catch (const ErrorType& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find('\n'), std::string::npos) << "errors are one line: " << text;
    return text;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

// Little-endian bytes of plain values, one after the other.
template <class... Values>
std::string raw(Values... values) {
  std::string bytes;
  const auto add = [&](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  (add(values), ...);
  return bytes;
}

// Some bytes of a file changed.
inline void overwrite(const std::string& path, std::size_t offset, std::string_view bytes) {
  std::string content = read_file(path);
  ASSERT_LE(offset + bytes.size(), content.size());
  content.replace(offset, bytes.size(), bytes);
  write_file(path, content);
}

}  // namespace infinipipe

// The one exception for user mistakes, bad input and failed runs, and the assertion for bugs.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace infinipipe {

// What the process should return when nobody handles the error.
enum class ErrorKind {
  kRun = 1,    // the run failed: a lost stage, a full disk, a refused plan
  kInput = 2,  // wrong use or bad input
};

// what() is one line: `where: found, expected; next`, parts that are empty left out.
// Line breaks inside the parts become spaces, so that it stays one line whatever the input was.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string_view where, std::string_view found,
        std::string_view expected = {}, std::string_view next = {});

  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// Shorthands: throw InputError("data.idx", "magic is 'ABC'", "expected 'MMIDIDX'", "rebuild it").
class InputError final : public Error {
 public:
  InputError(std::string_view where, std::string_view found, std::string_view expected = {},
             std::string_view next = {})
      : Error(ErrorKind::kInput, where, found, expected, next) {}
};

class RunError : public Error {
 public:
  RunError(std::string_view where, std::string_view found, std::string_view expected = {},
           std::string_view next = {})
      : Error(ErrorKind::kRun, where, found, expected, next) {}
};

// Work that was asked to stop and has; nothing went wrong.
class Stopped final : public Error {
 public:
  explicit Stopped(std::string_view where)
      : Error(ErrorKind::kRun, where, "stopped before it was done") {}
};

// A broken invariant of our own code. Thrown (std::logic_error), never swallowed: a stage thread
// reports it with its stage and instruction like any other failure.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line,
                                   std::string_view message);

}  // namespace infinipipe

// Checked in every build type. The message may be any expression convertible to string_view.
#define INFINIPIPE_ASSERT(condition, message)                                    \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::infinipipe::assertion_failed(#condition, __FILE__, __LINE__, (message)); \
  } while (false)

#include "cli/out_of_memory.h"

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "base/temporary_file.h"
#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

constexpr std::size_t kPutAside = std::size_t{4} << 20;

std::atomic<void*> put_aside{nullptr};
std::terminate_handler terminate_otherwise = nullptr;

void on_lack_of_memory() {
  std::free(put_aside.exchange(nullptr));
  throw std::bad_alloc();
}

[[noreturn]] void on_terminate() {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      remove_temporary_files();
      say_out_of_memory();
      ::_exit(static_cast<int>(ErrorKind::kRun));
    } catch (...) {  // a bug: ends as ever
    }
  }
  if (terminate_otherwise != nullptr) terminate_otherwise();
  std::abort();
}

}  // namespace

void prepare_for_lack_of_memory() {
  put_aside = std::malloc(kPutAside);
  std::set_new_handler(on_lack_of_memory);
  terminate_otherwise = std::set_terminate(on_terminate);
}

void say_out_of_memory() {
  constexpr std::string_view kLine =
      "error: out of memory: the system gave no more, expected enough for the work; "
      "use smaller input or a machine with more memory\n";
  [[maybe_unused]] const auto put = ::write(STDERR_FILENO, kLine.data(), kLine.size());
}

}  // namespace infinipipe::cli

# What makes a fault of our own code stop the program instead of being of use to somebody. It goes
# to what is compiled and linked here, through infinipipe_flags; an installed copy asks nothing of
# those who link it (tests/install). Sanitizers bring checks of their own, which these would hide.
option(INFINIPIPE_HARDENING "compile and link our own code with checks of memory faults" ON)
if(NOT INFINIPIPE_HARDENING OR INFINIPIPE_SANITIZE)
  return()
endif()
include(CheckCXXCompilerFlag)
include(CheckCXXSourceCompiles)
include(CheckPIESupported)
check_pie_supported()  # with it CMAKE_POSITION_INDEPENDENT_CODE means -pie for programs

# A return address overwritten, a stack grown past its guard page. Not -fcf-protection: its marks
# count only where every object file has them, and Debian 12's own start files have none. Nor
# -D_GLIBCXX_ASSERTIONS: planning takes 3% longer with it (docs/benchmarks.md).
foreach(flag stack-protector-strong stack-clash-protection)
  string(MAKE_C_IDENTIFIER "INFINIPIPE_HAS_${flag}" has)
  check_cxx_compiler_flag(-f${flag} ${has})
  if(${has})
    target_compile_options(infinipipe_flags INTERFACE -f${flag})
  endif()
endforeach()

# Copies checked against the size of their target: 3 knows sizes that are known only at run time. It
# needs optimisation, and g++ 12 with glibc 2.35; older ones warn, and get 2.
set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
check_cxx_source_compiles("#include <cstring>
  int main(int n, char** a) { return static_cast<int>(std::strlen(a[n - 1])); }"
  INFINIPIPE_HAS_FORTIFY_3)
unset(CMAKE_REQUIRED_FLAGS)
set(fortify 2)
if(INFINIPIPE_HAS_FORTIFY_3)
  set(fortify 3)
endif()
set(optimised "$<CONFIG:Release,RelWithDebInfo,MinSizeRel>")
target_compile_options(infinipipe_flags INTERFACE
  "$<${optimised}:-U_FORTIFY_SOURCE>" "$<${optimised}:-D_FORTIFY_SOURCE=${fortify}>")

# Tables of addresses read-only once the program has started, and no stack that can be executed.
target_link_options(infinipipe_flags INTERFACE "-Wl,-z,relro,-z,now" "-Wl,-z,noexecstack")

# Language, warnings, sanitizers, compiler cache.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_program(CCACHE ccache)
if(CCACHE)
  # What is compiled with precompiled headers is kept, too.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    add_compile_options(-fpch-preprocess)
  endif()
endif()

add_library(infinipipe_flags INTERFACE)
# -ffp-contract=off: plans must not depend on whether a machine has fused multiply-add.
target_compile_options(infinipipe_flags INTERFACE -ffp-contract=off -Wall -Wextra -Wpedantic
  -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual -Wno-restrict)  # restrict: false alarms of g++ 12
if(INFINIPIPE_WERROR)
  target_compile_options(infinipipe_flags INTERFACE -Werror)
endif()
if(INFINIPIPE_SANITIZE)
  add_compile_options(-fsanitize=${INFINIPIPE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${INFINIPIPE_SANITIZE})
endif()

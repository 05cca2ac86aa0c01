# Every third-party library as an imported target; tools/setup.sh installs them.
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(tomlplusplus 3.3 REQUIRED)
find_package(CLI11 2.1 REQUIRED)

set(INFINIPIPE_SITE "${PROJECT_SOURCE_DIR}/.deps/site" CACHE PATH
  "folder of the Python wheels: torch, highsbox")

# HiGHS: the wheel's CMake package points to a folder that does not exist, and its C++ classes use
# the old string ABI; the C API links.
file(GLOB_RECURSE INFINIPIPE_HIGHS_LIBRARY "${INFINIPIPE_SITE}/highsbox/*libhighs.so*")
file(GLOB_RECURSE INFINIPIPE_HIGHS_HEADER "${INFINIPIPE_SITE}/highsbox/*highs_c_api.h")
if(NOT INFINIPIPE_HIGHS_LIBRARY OR NOT INFINIPIPE_HIGHS_HEADER)
  message(FATAL_ERROR "HiGHS was not found under ${INFINIPIPE_SITE}; run tools/setup.sh")
endif()
list(GET INFINIPIPE_HIGHS_LIBRARY 0 INFINIPIPE_HIGHS_LIBRARY)
list(GET INFINIPIPE_HIGHS_HEADER 0 INFINIPIPE_HIGHS_HEADER)
cmake_path(GET INFINIPIPE_HIGHS_HEADER PARENT_PATH INFINIPIPE_HIGHS_INTERFACES)
cmake_path(GET INFINIPIPE_HIGHS_INTERFACES PARENT_PATH INFINIPIPE_HIGHS_INCLUDE)
add_library(highs SHARED IMPORTED)
set_target_properties(highs PROPERTIES
  IMPORTED_LOCATION "${INFINIPIPE_HIGHS_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${INFINIPIPE_HIGHS_INCLUDE}")
cmake_path(GET INFINIPIPE_HIGHS_LIBRARY PARENT_PATH INFINIPIPE_BUILD_RPATH)

if(INFINIPIPE_TORCH)
  set(torch_root "${INFINIPIPE_SITE}/torch")
  if(NOT EXISTS "${torch_root}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "LibTorch was not found under ${INFINIPIPE_SITE}; run tools/setup.sh")
  endif()
  add_library(c10 SHARED IMPORTED)
  set_target_properties(c10 PROPERTIES IMPORTED_LOCATION "${torch_root}/lib/libc10.so")
  add_library(torch_cpu SHARED IMPORTED)
  set_target_properties(torch_cpu PROPERTIES
    IMPORTED_LOCATION "${torch_root}/lib/libtorch_cpu.so"
    INTERFACE_INCLUDE_DIRECTORIES "${torch_root}/include"
    INTERFACE_LINK_LIBRARIES "c10;Threads::Threads")
  # CUDA's libraries come from wheels beside torch or from the toolkit; libtorch_cpu.so itself needs
  # cupti and cudart, wherever it runs.
  file(GLOB cuda_libs "${INFINIPIPE_SITE}/nvidia/*/lib")
  if(INFINIPIPE_CUDA)
    find_package(CUDAToolkit 13.0 REQUIRED)
    list(APPEND cuda_libs "${CUDAToolkit_LIBRARY_DIR}")
    get_target_property(cudart CUDA::cudart IMPORTED_LOCATION)  # for kernels of our own
    set(INFINIPIPE_CUDA_OPTIONS "-Wl,--no-as-needed" "${torch_root}/lib/libtorch_cuda.so"
      "${torch_root}/lib/libc10_cuda.so" "${cudart}" "-Wl,--as-needed")
    target_link_options(torch_cpu INTERFACE ${INFINIPIPE_CUDA_OPTIONS})
  endif()
  foreach(folder IN LISTS cuda_libs)
    target_link_options(torch_cpu INTERFACE "-Wl,-rpath-link,${folder}")
  endforeach()
  list(APPEND CMAKE_BUILD_RPATH ${cuda_libs})
  set(INFINIPIPE_TORCH_FOLDERS "${torch_root}/lib" ${cuda_libs})
  set(INFINIPIPE_BUILD_RPATH ${INFINIPIPE_TORCH_FOLDERS} "${INFINIPIPE_BUILD_RPATH}")
endif()
# The linker may let a symbol's name share the end of this string, which installing overwrites; no
# symbol ends like this.
string(APPEND INFINIPIPE_BUILD_RPATH "/.")

find_path(SENTENCEPIECE_INCLUDE sentencepiece_processor.h)
find_library(SENTENCEPIECE_LIBRARY sentencepiece)
find_path(ZLIB_INCLUDE zlib.h)
find_library(ZLIB_LIBRARY z)
find_path(ZSTD_INCLUDE zstd.h)
find_library(ZSTD_LIBRARY zstd)

# LibTorch ships no header of Gloo: one file sees declarations of our own instead.
set(api "-isystem;${INFINIPIPE_SITE}/torch/include/torch/csrc/api/include")
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/dist/gloo.cpp" PROPERTIES
  COMPILE_OPTIONS "-isystem;${PROJECT_SOURCE_DIR}/src/dist/gloo_headers;${api}"
  SKIP_PRECOMPILE_HEADERS ON)
# NCCL has one owner file, and another for where it is absent.
set(unused nccl.cpp)
if(INFINIPIPE_CUDA)
  set(unused no_nccl.cpp)
  find_path(INFINIPIPE_NCCL_INCLUDE nccl.h
    PATHS ${CUDAToolkit_INCLUDE_DIRS} "${INFINIPIPE_SITE}/nvidia/nccl/include" NO_DEFAULT_PATH REQUIRED)
  target_include_directories(infinipipe_dist SYSTEM PRIVATE
    ${CUDAToolkit_INCLUDE_DIRS} "${INFINIPIPE_NCCL_INCLUDE}")
  set_source_files_properties("${PROJECT_SOURCE_DIR}/src/dist/nccl.cpp" PROPERTIES
    COMPILE_OPTIONS "${api}")
endif()
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/dist/${unused}" PROPERTIES HEADER_FILE_ONLY ON)

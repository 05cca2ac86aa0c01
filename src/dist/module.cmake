# LibTorch ships no header of Gloo: one file sees declarations of our own instead.
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/dist/gloo.cpp" PROPERTIES
  COMPILE_OPTIONS "-isystem;${PROJECT_SOURCE_DIR}/src/dist/gloo_headers;-isystem;${INFINIPIPE_SITE}/torch/include/torch/csrc/api/include"
  SKIP_PRECOMPILE_HEADERS ON)
# NCCL has one owner file, and another for where it is absent.
set(unused nccl.cpp)
if(INFINIPIPE_CUDA)
  set(unused no_nccl.cpp)
  target_link_libraries(infinipipe_dist PUBLIC CUDA::cudart)
  find_path(INFINIPIPE_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS}
    PATHS "${INFINIPIPE_SITE}/nvidia/nccl/include" REQUIRED)
  target_include_directories(infinipipe_dist SYSTEM PRIVATE "${INFINIPIPE_NCCL_INCLUDE}")
endif()
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/dist/${unused}" PROPERTIES HEADER_FILE_ONLY ON)

# The loops' clamps and square roots vectorise only if no floating-point trap or errno is watched.
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/model/common/kernels_cpu_rows.cpp" PROPERTIES
  COMPILE_OPTIONS "-fno-trapping-math;-fno-math-errno" SKIP_PRECOMPILE_HEADERS ON)

# Attention's inner loops, once per instruction set. These files have no code that others could be
# linked to, and the program picks one at run time. Fused multiply-adds are what they are for.
foreach(set IN ITEMS base avx2 avx512)
  set(file "${PROJECT_SOURCE_DIR}/src/model/common/attention/kernels_${set}.cpp")
  set(flags -O3 -ffp-contract=fast -fno-trapping-math -fno-math-errno -Wno-psabi -Wno-pedantic)
  if(set STREQUAL "avx2")
    list(APPEND flags -mavx2 -mfma)
  elseif(set STREQUAL "avx512")
    list(APPEND flags -mavx2 -mfma -mavx512f -mavx512dq -mavx512bw -mavx512vl)
  endif()
  set_source_files_properties("${file}" PROPERTIES COMPILE_OPTIONS "${flags}"
    SKIP_PRECOMPILE_HEADERS ON)
  if(NOT set STREQUAL "base" AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties("${file}" PROPERTIES HEADER_FILE_ONLY ON)
  endif()
endforeach()

# Fused kernels for GPUs: a folder, and a file for where it is absent. They are compiled apart from
# the module's flags, warnings and precompiled header, which are g++'s.
if(INFINIPIPE_CUDA)
  file(GLOB kernels CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/model/common/fused/cuda/*.cu")
  add_library(infinipipe_fused_cuda OBJECT ${kernels})
  target_include_directories(infinipipe_fused_cuda PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_sources(infinipipe_model PRIVATE $<TARGET_OBJECTS:infinipipe_fused_cuda>)
  set_source_files_properties("${PROJECT_SOURCE_DIR}/src/model/common/fused/no_cuda.cpp" PROPERTIES
    HEADER_FILE_ONLY ON)
endif()

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

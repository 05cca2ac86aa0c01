# The loops' clamps and square roots vectorise only if no floating-point trap or errno is watched.
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/model/kernels_cpu_rows.cpp" PROPERTIES
  COMPILE_OPTIONS "-fno-trapping-math;-fno-math-errno" SKIP_PRECOMPILE_HEADERS ON)

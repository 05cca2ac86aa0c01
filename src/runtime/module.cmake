# Without errno a square root vectorises.
set_source_files_properties("${PROJECT_SOURCE_DIR}/src/runtime/optimizer_loops.cpp" PROPERTIES
  COMPILE_OPTIONS "-fno-math-errno" SKIP_PRECOMPILE_HEADERS ON)

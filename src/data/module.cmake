# SentencePiece, zlib and Zstandard each have one owner file, and another for where they are absent.
target_link_libraries(infinipipe_data PUBLIC Threads::Threads)

# `link`: the name that the linker knows it by, for what is built from an installed copy.
function(infinipipe_data_library name link owner absent)
  if(${name}_INCLUDE AND ${name}_LIBRARY)
    target_link_libraries(infinipipe_data PRIVATE
      $<BUILD_INTERFACE:${${name}_LIBRARY}> $<INSTALL_INTERFACE:${link}>)
    target_include_directories(infinipipe_data SYSTEM PRIVATE ${${name}_INCLUDE})
    set(unused ${absent})
  else()
    set(unused ${owner})
  endif()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/src/data/${unused} TARGET_DIRECTORY infinipipe_data
                              PROPERTIES HEADER_FILE_ONLY ON)
endfunction()

infinipipe_data_library(SENTENCEPIECE sentencepiece sentencepiece_tokenizer.cpp sentencepiece_absent.cpp)
infinipipe_data_library(ZLIB z gzip_decoder.cpp gzip_absent.cpp)
infinipipe_data_library(ZSTD zstd zstd_decoder.cpp zstd_absent.cpp)

# The workers' programs go into ours, so that an installed copy has them.
foreach(name common tokenizer chat parquet)
  set(file "${PROJECT_SOURCE_DIR}/src/data/${name}_worker.py")
  if(name STREQUAL "common")
    set(file "${PROJECT_SOURCE_DIR}/src/data/worker_common.py")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  string(TOUPPER "INFINIPIPE_${name}_WORKER" variable)
  file(READ "${file}" ${variable})
endforeach()
foreach(wheel tokenizers:tokenizers tokenizers:jinja2 parquet:duckdb)
  string(REPLACE ":" ";" wheel "${wheel}")
  list(GET wheel 0 pins)
  list(GET wheel 1 name)
  set(pins "${PROJECT_SOURCE_DIR}/tools/wheels/${pins}.txt")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${pins}")
  file(READ "${pins}" pins)
  string(TOUPPER "INFINIPIPE_${name}_PIN" variable)
  string(REGEX MATCH "${name}==[0-9.]+" ${variable} "${pins}")
endforeach()
set(INFINIPIPE_SET_UP_PYTHON "${PROJECT_SOURCE_DIR}/.deps/venv/bin/python")
configure_file("${PROJECT_SOURCE_DIR}/src/data/worker_programs.cpp.in"
               "${CMAKE_CURRENT_BINARY_DIR}/worker_programs.cpp" @ONLY)
target_sources(infinipipe_data PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/worker_programs.cpp")

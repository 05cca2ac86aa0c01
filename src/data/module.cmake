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

# The worker's program goes into ours, so that an installed copy has it.
set(worker "${PROJECT_SOURCE_DIR}/src/data/tokenizer_worker.py")
set(pins "${PROJECT_SOURCE_DIR}/tools/wheels/tokenizers.txt")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${worker}" "${pins}")
file(READ "${worker}" INFINIPIPE_TOKENIZER_WORKER)
file(READ "${pins}" pins)
string(REGEX MATCH "tokenizers==[0-9.]+" INFINIPIPE_TOKENIZERS_PIN "${pins}")
set(INFINIPIPE_SET_UP_PYTHON "${PROJECT_SOURCE_DIR}/.deps/venv/bin/python")
configure_file("${PROJECT_SOURCE_DIR}/src/data/tokenizer_worker.cpp.in"
               "${CMAKE_CURRENT_BINARY_DIR}/tokenizer_worker.cpp" @ONLY)
target_sources(infinipipe_data PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/tokenizer_worker.cpp")

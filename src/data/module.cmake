# SentencePiece, zlib and Zstandard each have one owner file, and another for where they are absent.
target_link_libraries(infinipipe_data PUBLIC Threads::Threads)

function(infinipipe_data_library name owner absent)
  if(${name}_INCLUDE AND ${name}_LIBRARY)
    target_link_libraries(infinipipe_data PRIVATE ${${name}_LIBRARY})
    target_include_directories(infinipipe_data SYSTEM PRIVATE ${${name}_INCLUDE})
    set(unused ${absent})
  else()
    set(unused ${owner})
  endif()
  set_source_files_properties(${PROJECT_SOURCE_DIR}/src/data/${unused} TARGET_DIRECTORY infinipipe_data
                              PROPERTIES HEADER_FILE_ONLY ON)
endfunction()

infinipipe_data_library(SENTENCEPIECE sentencepiece_tokenizer.cpp sentencepiece_absent.cpp)
infinipipe_data_library(ZLIB gzip_decoder.cpp gzip_absent.cpp)
infinipipe_data_library(ZSTD zstd_decoder.cpp zstd_absent.cpp)

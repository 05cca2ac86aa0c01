# SentencePiece has one owner file, and another for where it is absent.
target_link_libraries(infinipipe_data PUBLIC Threads::Threads)
if(SENTENCEPIECE_INCLUDE AND SENTENCEPIECE_LIBRARY)
  target_link_libraries(infinipipe_data PRIVATE ${SENTENCEPIECE_LIBRARY})
  target_include_directories(infinipipe_data SYSTEM PRIVATE ${SENTENCEPIECE_INCLUDE})
  set(unused_source sentencepiece_absent.cpp)
else()
  set(unused_source sentencepiece_tokenizer.cpp)
endif()
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/data/${unused_source}
                            PROPERTIES HEADER_FILE_ONLY ON)

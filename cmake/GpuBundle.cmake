# `make gpu-bundle`: what tools/gpu_check.sh needs on a machine with a GPU whose Python has the same
# LibTorch, as a folder of a few megabytes that can be carried there. It holds the two programs,
# stripped, our three shared libraries that such a machine lacks, and the Python parts.
if(NOT TARGET gpu_check)
  return()
endif()
set(bundle COMPONENT gpu_bundle EXCLUDE_FROM_ALL)
add_custom_target(gpu_bundle DEPENDS infinipipe gpu_check)

list(JOIN INFINIPIPE_BUILD_RPATH ":" old)
foreach(program infinipipe gpu_check)
  install(PROGRAMS "$<TARGET_FILE:${program}>" DESTINATION . ${bundle})
  install(CODE "file(RPATH_CHANGE FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${program}\"
    OLD_RPATH \"${old}\" NEW_RPATH \"\\$ORIGIN/lib\")" ${bundle})
  list(APPEND stripped ${program})
endforeach()
cmake_path(GET SENTENCEPIECE_LIBRARY PARENT_PATH system_libs)
cmake_path(GET INFINIPIPE_HIGHS_LIBRARY FILENAME highs_name)
foreach(library "${INFINIPIPE_HIGHS_LIBRARY}" "${system_libs}/libsentencepiece.so.0"
                "${system_libs}/libtomlplusplus.so.3")
  cmake_path(GET library FILENAME name)
  file(REAL_PATH "${library}" file)
  install(PROGRAMS "${file}" DESTINATION lib RENAME "${name}" ${bundle})
  list(APPEND stripped lib/${name})
endforeach()
foreach(file IN LISTS stripped)
  install(CODE "execute_process(COMMAND \"${CMAKE_STRIP}\"
    \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${file}\" COMMAND_ERROR_IS_FATAL ANY)" ${bundle})
endforeach()
install(FILES tools/gpu_check/documents.py tools/gpu_check/reference.py tools/gpu_check/summary.py
  DESTINATION . ${bundle})

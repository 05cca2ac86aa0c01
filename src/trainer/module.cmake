# The version of the code that a measured profile is of: a hash over what runs instructions, what
# measures and fits them, and how they are built.
file(GLOB_RECURSE timed_sources CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/src/model/*" "${PROJECT_SOURCE_DIR}/src/runtime/*"
  "${PROJECT_SOURCE_DIR}/src/comm/*" "${PROJECT_SOURCE_DIR}/src/dist/*"
  "${PROJECT_SOURCE_DIR}/src/profile/*"
  "${PROJECT_SOURCE_DIR}/src/cost/*"
  "${INFINIPIPE_SITE}/torch/include/torch/headeronly/version.h")
list(FILTER timed_sources EXCLUDE REGEX "\\.md$")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${timed_sources})
string(TOUPPER "CMAKE_CXX_FLAGS_${CMAKE_BUILD_TYPE}" flags_of_type)
get_target_property(flags infinipipe_flags INTERFACE_COMPILE_OPTIONS)
string(CONCAT hashes "${CMAKE_BUILD_TYPE} ${CMAKE_CXX_FLAGS} ${${flags_of_type}} ${flags} "
                     "${INFINIPIPE_SANITIZE} ${CMAKE_CXX_COMPILER_VERSION}")
foreach(source IN LISTS timed_sources)
  file(SHA256 "${source}" hash)
  string(APPEND hashes "${hash}")
endforeach()
string(SHA256 INFINIPIPE_CODE_VERSION "${hashes}")
string(SUBSTRING "${INFINIPIPE_CODE_VERSION}" 0 16 INFINIPIPE_CODE_VERSION)
configure_file("${PROJECT_SOURCE_DIR}/src/trainer/code_version.cpp.in"
               "${CMAKE_CURRENT_BINARY_DIR}/code_version.cpp" @ONLY)
target_sources(${target} PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/code_version.cpp")

# What `cmake --install` puts where, for people and for find_package(infinipipe):
#   bin/infinipipe            the program; it finds what it needs from its own place ($ORIGIN)
#   include/infinipipe        the public headers
#   lib/infinipipe            our static libraries, and the shared ones that no Debian package has
#   lib/cmake/infinipipe      infinipipe::planner, and infinipipe::trainer where LibTorch is built in
#   share/infinipipe/profiles machines to plan for
#   share/doc/infinipipe      licences
# Components: infinipipe, and libtorch (half a gigabyte, for the program and infinipipe::trainer).
include(CMakePackageConfigHelpers)
set(private_lib "${CMAKE_INSTALL_LIBDIR}/infinipipe")
set(profiles "${CMAKE_INSTALL_DATADIR}/infinipipe/profiles")
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/infinipipe")
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME infinipipe)

# All that is installed, and nothing else: `make install` builds it.
add_custom_target(installable)

# infinipipe_package(NAME TARGET MODULES modules...): infinipipe::NAME is TARGET, all the modules.
function(infinipipe_package name target)
  cmake_parse_arguments(arg "" "" "MODULES;LINKS" ${ARGN})
  add_library(${target} INTERFACE)
  add_library(infinipipe::${name} ALIAS ${target})
  list(TRANSFORM arg_MODULES PREPEND infinipipe_)
  target_link_libraries(${target} INTERFACE ${arg_MODULES} ${arg_LINKS})
  target_compile_features(${target} INTERFACE cxx_std_20)
  # As the library itself: plans must not depend on whether a machine has fused multiply-add.
  target_compile_options(${target} INTERFACE -ffp-contract=off)
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  add_dependencies(installable ${arg_MODULES})
  install(TARGETS ${target} ${arg_MODULES} EXPORT infinipipe-${name}
    ARCHIVE DESTINATION "${private_lib}" INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT infinipipe-${name} NAMESPACE infinipipe:: DESTINATION "${package}"
    FILE infinipipe-${name}.cmake)
endfunction()

infinipipe_package(planner infinipipe_planning
  MODULES base core data cost planner baselines sim report)
install(FILES "${INFINIPIPE_HIGHS_LIBRARY}" DESTINATION "${private_lib}")
cmake_path(GET INFINIPIPE_HIGHS_LIBRARY FILENAME highs_name)
set(public_headers FILES_MATCHING PATTERN "*.h")
if(INFINIPIPE_TORCH)
  infinipipe_package(trainer infinipipe_training LINKS infinipipe_planning
    MODULES comm dist model runtime profile trainer)
  if(INFINIPIPE_CUDA)
    # Several gigabytes of libraries: they stay in the folders where the build found them.
    set(installed_torch ${INFINIPIPE_TORCH_FOLDERS})
  else()
    # All that libtorch_cpu.so itself needs, in one folder.
    foreach(name libtorch_cpu.so libc10.so libgomp.so.1 libcupti.so.13 libcudart.so.13)
      find_file(file ${name} PATHS ${INFINIPIPE_TORCH_FOLDERS} NO_DEFAULT_PATH NO_CACHE REQUIRED)
      install(FILES "${file}" DESTINATION "${private_lib}" COMPONENT libtorch)
      unset(file)
    endforeach()
  endif()
else()
  list(APPEND public_headers PATTERN "infinipipe/trainer" EXCLUDE)
endif()
install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" ${public_headers})
install(DIRECTORY profiles/ DESTINATION "${profiles}" FILES_MATCHING PATTERN "*.json")

install(FILES LICENSE THIRD_PARTY.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")

configure_package_config_file(cmake/infinipipe-config.cmake.in
  "${PROJECT_BINARY_DIR}/infinipipe-config.cmake" INSTALL_DESTINATION "${package}"
  PATH_VARS private_lib profiles NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/infinipipe-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/infinipipe-config.cmake"
  "${PROJECT_BINARY_DIR}/infinipipe-config-version.cmake" DESTINATION "${package}")

if(TARGET infinipipe)
  add_dependencies(installable infinipipe)
  install(PROGRAMS "$<TARGET_FILE:infinipipe>" DESTINATION "${CMAKE_INSTALL_BINDIR}")
  cmake_path(RELATIVE_PATH private_lib BASE_DIRECTORY "${CMAKE_INSTALL_BINDIR}"
             OUTPUT_VARIABLE from_program)
  list(JOIN INFINIPIPE_BUILD_RPATH ":" old)
  set(new "\\$ORIGIN/${from_program}" ${installed_torch})
  list(JOIN new ":" new)
  install(CODE "file(RPATH_CHANGE
    FILE \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/infinipipe\"
    OLD_RPATH \"${old}\" NEW_RPATH \"${new}\")")
endif()

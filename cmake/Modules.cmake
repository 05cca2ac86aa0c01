# One static library per folder of src/, with its subfolders and its headers; those that users of the
# library include lie in include/infinipipe/<module> instead.

# infinipipe_module(NAME [TORCH] [DEPENDS modules...])
function(infinipipe_module name)
  cmake_parse_arguments(arg "TORCH" "" "DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp")
  set(target infinipipe_${name})
  set(scope PUBLIC)
  if(sources)
    add_library(${target} STATIC ${sources})
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:infinipipe_flags>)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
                                                "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>")
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(${target} ${scope} infinipipe_${dependency})
  endforeach()
  if(arg_TORCH)
    # An installed copy brings its own LibTorch and HiGHS: cmake/infinipipe-config.cmake.in.
    target_link_libraries(${target} ${scope} $<BUILD_INTERFACE:torch_cpu>
                                             $<INSTALL_INTERFACE:infinipipe::torch_cpu>)
    if(sources)
      infinipipe_torch_sources(${target} infinipipe_precompiled)
    endif()
  endif()
  if(sources AND EXISTS "${PROJECT_SOURCE_DIR}/src/${name}/module.cmake")
    include("${PROJECT_SOURCE_DIR}/src/${name}/module.cmake")
  endif()
endfunction()

# ATen's headers: taken as system headers, precompiled once for all targets with the same flags, by
# the target that is named; without one, for this target alone. What has one file needs the options
# only.
set(INFINIPIPE_TORCH_HEADERS <ATen/core/Tensor.h> <nlohmann/json.hpp>
  <algorithm> <functional> <map> <memory> <optional> <string> <vector>)

function(infinipipe_torch_options target)
  target_compile_options(${target} PRIVATE -Wno-conversion -Wno-shadow -Wno-pedantic
                                           -Wno-unused-parameter -Wno-deprecated-declarations)
endfunction()

function(infinipipe_torch_sources target)
  infinipipe_torch_options(${target})
  if(ARGN)
    target_precompile_headers(${target} REUSE_FROM ${ARGN})
  else()
    target_precompile_headers(${target} PRIVATE ${INFINIPIPE_TORCH_HEADERS})
  endif()
endfunction()

# The libraries' owner.
if(INFINIPIPE_TORCH)
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/precompiled.cpp" CONTENT "")
  add_library(infinipipe_precompiled OBJECT "${PROJECT_BINARY_DIR}/precompiled.cpp")
  target_link_libraries(infinipipe_precompiled PRIVATE infinipipe_flags torch_cpu
    nlohmann_json::nlohmann_json)
  infinipipe_torch_sources(infinipipe_precompiled)
endif()

# The command-line program from every source of the folder; commands that need LibTorch stand in
# files named *_torch.cpp, and commands_absent.cpp takes their place without it.
function(infinipipe_program folder)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.cpp")
  set(torch_sources ${sources})
  list(FILTER torch_sources INCLUDE REGEX "_torch\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_torch\\.cpp$")
  if(NOT sources)
    return()
  endif()
  add_executable(infinipipe ${sources})
  # Folders by name, $ORIGIN when installed (cmake/Install.cmake): CMake's own way of changing them
  # leaves an empty entry in the build's program, which stands for the current folder.
  set_target_properties(infinipipe PROPERTIES BUILD_WITH_INSTALL_RPATH ON
    INSTALL_RPATH "${INFINIPIPE_BUILD_RPATH}")
  target_compile_options(infinipipe PRIVATE -Wno-stringop-overflow -Wno-array-bounds)  # g++ 12
  target_link_libraries(infinipipe PRIVATE infinipipe_flags infinipipe_data infinipipe_planner
    infinipipe_baselines infinipipe_sim infinipipe_report CLI11::CLI11)
  target_include_directories(infinipipe PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_compile_definitions(infinipipe PRIVATE INFINIPIPE_VERSION="${PROJECT_VERSION}")
  if(INFINIPIPE_TORCH)
    target_sources(infinipipe PRIVATE ${torch_sources})
    list(FILTER sources INCLUDE REGEX "_absent\\.cpp$")
    set_source_files_properties(${sources} PROPERTIES HEADER_FILE_ONLY ON)
    target_link_libraries(infinipipe PRIVATE infinipipe_trainer)
    infinipipe_torch_sources(infinipipe)
  endif()
endfunction()

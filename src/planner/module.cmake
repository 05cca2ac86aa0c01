target_link_libraries(infinipipe_planner PUBLIC Threads::Threads PRIVATE
  $<BUILD_INTERFACE:highs> $<INSTALL_INTERFACE:infinipipe::highs>)

target_link_libraries(infinipipe_planner PUBLIC Threads::Threads PRIVATE highs)

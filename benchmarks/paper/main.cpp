// usage: infinipipe_paper PROFILES OUT [--small]
// Runs the paper's evaluation on simulated clusters and writes it into the folder OUT: README.md,
// *.svg, results.json, and what does not repeat apart: timings.md, timings.svg, timings.json.
#include <cstdio>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "paper/page.h"

int main(int argc, char** argv) {
  using namespace infinipipe;
  const bool small = argc == 4 && std::strcmp(argv[3], "--small") == 0;
  if (argc != 3 && !small) {
    std::fprintf(stderr, "usage: infinipipe_paper PROFILES OUT [--small]\n");
    return 2;
  }
  try {
    const std::string out = argv[2];
    const paper::Scope scope = small ? paper::small_scope(argv[1]) : paper::full_scope(argv[1]);
    const paper::Results results = paper::run_all(
        scope, [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
    make_folder(out);
    write_file(out + "/results.json", paper::results_json(scope, results).dump() + "\n");
    write_file(out + "/timings.json", paper::timings_json(results).dump() + "\n");
    for (const auto& [name, svg] : paper::figures(scope, results)) {
      write_file(out + "/" + name, svg);
    }
    write_file(out + "/README.md", paper::page(scope, results));
    write_file(out + "/timings.svg", paper::planning_figure(results));
    write_file(out + "/timings.md", paper::planning_page(results));
    std::printf("%s/README.md\n", out.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}

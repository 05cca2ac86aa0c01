// The evaluation as figures and one Markdown page.
#pragma once

#include <map>
#include <string>

#include "paper/experiments.h"

namespace infinipipe::paper {

// "64K" for 65,536 tokens.
inline std::string cap_text(Tokens cap) { return std::to_string(cap / 1024) + "K"; }

// File name -> SVG. Without timings.
std::map<std::string, std::string> figures(const Scope& scope, const Results& results);
// The page that shows them beside the published figures.
std::string page(const Scope& scope, const Results& results);

// Planning time against step time: a figure and a page of their own, since they do not repeat.
std::string planning_figure(const Results& results);
std::string planning_page(const Results& results);

}  // namespace infinipipe::paper

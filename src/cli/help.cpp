#include "cli/help.h"

#include <algorithm>

namespace infinipipe::cli {
namespace {

constexpr std::size_t kColumns = 100;
constexpr std::size_t kLongestLabel = 36;  // longer ones stand on their own line

// "  label   text", the text wrapped at kColumns and indented.
std::string entry(const std::string& label, const std::string& text, std::size_t width) {
  std::string out = "  " + label;
  const std::size_t indent = width + 4;
  std::size_t column = out.size();
  if (label.size() > width) {
    out += '\n';
    column = 0;
  }
  out.append(indent - column, ' ');
  column = indent;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = text.find(' ', begin);
    if (end == std::string::npos) end = text.size();
    if (column > indent && column + 1 + (end - begin) > kColumns) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out.append(text, begin, end - begin);
    column += end - begin;
    begin = end + 1;
  }
  return out + '\n';
}

std::string label_of(const Flag& flag) {
  std::string label = flag.name;
  if (const std::size_t comma = label.find(','); comma != std::string::npos) {
    label.insert(comma + 1, " ");
  }
  if (!flag.value.empty()) label += " " + flag.value;
  return label;
}

std::string usage(const Command& command, const Flags& flags) {
  std::string line = "Usage: infinipipe " + command.name;
  for (const Flag& flag : flags.all()) {
    if (flag.required && !flag.hidden) line += " " + label_of(flag);
  }
  line += " [options]";
  if (!flags.rest_name().empty()) line += " -- " + flags.rest_name();
  return line + '\n';
}

std::string common_options(std::size_t width) {
  return "\nEverywhere:\n" + entry("-q, --quiet", "results and errors only", width) +
         entry("-v, --verbose", "say more", width) + entry("-h, --help", "this text", width);
}

}  // namespace

std::string version_text() { return "infinipipe " INFINIPIPE_VERSION "\n"; }

std::string program_help(const std::vector<Command>& commands, const std::string& family) {
  const std::string name = family.empty() ? "infinipipe" : "infinipipe " + family;
  std::string out;
  if (family.empty())
    out += "InfiniPipe: elastic pipeline parallelism for long-context training\n\n";
  out += "Usage: " + name + " COMMAND [options]\n";
  std::size_t width = 0;
  std::vector<std::string> sections;
  const auto shown = [&](const Command& command) {
    return family.empty() || command.name.starts_with(family + " ");
  };
  for (const Command& command : commands) {
    if (!shown(command)) continue;
    width = std::max(width, command.name.size());
    if (std::find(sections.begin(), sections.end(), command.section) == sections.end()) {
      sections.push_back(command.section);
    }
  }
  width = std::max(width, std::string("-v, --verbose").size());
  for (const std::string& section : sections) {
    out += "\n" + section + ":\n";
    for (const Command& command : commands) {
      if (shown(command) && command.section == section) {
        out += entry(command.name, command.summary, width);
      }
    }
  }
  out += common_options(width);
  if (family.empty()) out += entry("--version", "the version", width);
  return out + "\n`infinipipe COMMAND --help` shows a command's flags.\n";
}

std::string command_help(const Command& command, const Flags& flags) {
  std::string out = "infinipipe " + command.name + ": " + command.summary + "\n\n";
  out += usage(command, flags);
  std::size_t width = 0;
  std::vector<std::string> sections;
  bool hidden_keys = false;
  for (const Flag& flag : flags.all()) {
    hidden_keys |= flag.hidden && flag.section.starts_with('[');
    if (flag.hidden) continue;
    const std::size_t size = label_of(flag).size();
    if (size <= kLongestLabel) width = std::max(width, size);
    if (std::find(sections.begin(), sections.end(), flag.section) == sections.end()) {
      sections.push_back(flag.section);
    }
  }
  for (const std::string& section : sections) {
    out += "\n" + section + ":\n";
    for (const Flag& flag : flags.all()) {
      if (flag.hidden || flag.section != section) continue;
      const bool remark = flag.required && !flag.positional();
      out += entry(label_of(flag), flag.help + (remark ? " (required)" : ""), width);
    }
  }
  for (const HelpList& list : flags.lists()) {
    out += "\n" + list.heading + ":\n";
    for (const auto& [name, line] : list.entries) out += entry(name, line, width);
  }
  out += common_options(width);
  if (hidden_keys) out += "\nThe keys of the configuration's other sections are flags as well.\n";
  return out;
}

}  // namespace infinipipe::cli

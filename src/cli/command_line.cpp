// Owner of the CLI11 dependency: it tells flags, values and commands apart; what they mean, help
// and messages are ours.
#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <map>
#include <memory>

#include "cli/help.h"
#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

constexpr const char* kWhere = "command line";

// Flags of other trainers that people will type.
const std::map<std::string, std::string>& known_elsewhere() {
  static const std::map<std::string, std::string> kNames = {
      {"--train-iters", "--training.steps"},
      {"--global-batch-size", "--training.sequences_per_step"},
      {"--seq-length", "--data.max_sequence_length"},
      {"--pipeline-model-parallel-size", "--parallelism.stages"},
      {"--context-parallel-size", "--parallelism.sequence_parallel"},
      {"--num-layers", "--model.num_hidden_layers"},
      {"--hidden-size", "--model.hidden_size"},
      {"--num-attention-heads", "--model.num_attention_heads"},
      {"--ffn-hidden-size", "--model.intermediate_size"},
      {"--save-interval", "--checkpoint.every"},
      {"--save", "--checkpoint.path"},
      {"--load", "--checkpoint.path"},
      {"--data-path", "--data.path"},
      {"--min-lr", "--optimizer.min_lr_ratio"},
      {"--clip-grad", "--optimizer.clip_grad_norm"},
  };
  return kNames;
}

// One command as CLI11 sees it, with the raw values that it finds.
struct Parser {
  const Command* command = nullptr;
  CLI::App* app = nullptr;
  Flags flags;
  Run run;
  std::vector<std::vector<std::string>> values;  // of flags.all()[i]
  std::vector<int> switches;
  bool quiet = false;
  bool verbose = false;
  bool help = false;

  void declare();
  void finish();
};

void add_common(CLI::App& app, bool& quiet, bool& verbose, bool& help) {
  app.set_help_flag();
  app.allow_extras();
  app.add_flag("-q,--quiet", quiet);
  app.add_flag("-v,--verbose", verbose);
  app.add_flag("-h,--help", help);
}

void Parser::declare() {
  run = command->setup(flags);
  add_common(*app, quiet, verbose, help);
  values.resize(flags.all().size());
  switches.resize(flags.all().size());
  for (std::size_t i = 0; i < flags.all().size(); ++i) {
    const Flag& flag = flags.all()[i];
    if (flag.positional() || !flag.value.empty()) {
      CLI::Option* const option = app->add_option(flag.name, values[i]);
      option->type_size(1)->expected(1)->allow_extra_args(false)->type_name(flag.value);
      option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    } else {
      app->add_flag(flag.name, switches[i]);
    }
  }
}

[[noreturn]] void fail_unexpected(const std::string& word, const Flags& flags) {
  if (!word.starts_with('-')) {
    throw InputError(kWhere, "unexpected argument '" + word + "'", {},
                     "infinipipe COMMAND --help shows what a command takes");
  }
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> known = {"--help", "--quiet", "--verbose"};
  std::string near;
  for (const Flag& flag : flags.all()) {
    if (flag.positional()) continue;
    known.push_back(flag.long_name());
    const std::size_t dot = flag.name.find('.');
    if (dot != std::string::npos && name == "--" + flag.name.substr(dot + 1)) near = flag.name;
  }
  if (const auto elsewhere = known_elsewhere().find(name);
      near.empty() && elsewhere != known_elsewhere().end() &&
      std::find(known.begin(), known.end(), elsewhere->second) != known.end()) {
    near = elsewhere->second;
  }
  if (near.empty()) near = nearest(name, known);
  throw InputError(std::string(kWhere) + ": " + name, "unknown flag",
                   near.empty() ? "" : "did you mean " + near + "?",
                   near.empty() ? "--help shows the known ones" : "");
}

// Hands the raw values to the command's flags.
void Parser::finish() {
  if (const auto extras = app->remaining(); !extras.empty() && !flags.ignores_rest()) {
    const auto flag = std::find_if(extras.begin(), extras.end(), [](const std::string& word) {
      return word.size() > 1 && word[0] == '-';
    });
    fail_unexpected(flag == extras.end() ? extras.front() : *flag, flags);
  }
  std::vector<FileUse> files;
  for (std::size_t i = 0; i < flags.all().size(); ++i) {
    const Flag& flag = flags.all()[i];
    try {
      if (switches[i] > 0) flag.set({});
      if (values[i].empty()) {
        if (!flag.required) continue;
        throw InputError(flag.positional() ? flag.name : flag.long_name(), "found nothing",
                         flag.positional() ? "expected an argument" : "expected " + flag.value,
                         "infinipipe " + command->name + " --help shows the usage");
      }
      for (std::size_t v = flag.repeated ? 0 : values[i].size() - 1; v < values[i].size(); ++v) {
        flag.set(values[i][v]);
        for (const std::string& file : flag.files(values[i][v])) {
          files.push_back({flag.positional() ? flag.name : flag.long_name(), file, flag.written});
        }
      }
    } catch (const InputError& error) {
      throw InputError(kWhere, error.what());
    }
  }
  try {
    flags.set_files(std::move(files));
  } catch (const InputError& error) {
    throw InputError(kWhere, error.what());
  }
}

// What CLI11 itself finds wrong: a flag without its value.
[[noreturn]] void fail_parse(const CLI::ParseError& error) {
  const std::string text = error.what();
  const std::size_t colon = text.find(": ");
  const std::size_t comma = text.rfind(',', colon);
  if (text.ends_with(" missing") && colon != std::string::npos) {
    const std::size_t begin = comma == std::string::npos ? 0 : comma + 1;
    throw InputError(std::string(kWhere) + ": " + text.substr(begin, colon - begin),
                     "found nothing", "expected a value");
  }
  throw InputError(kWhere, text);
}

// Where the arguments end that are ours to understand: at "--" for a command that takes the rest,
// which it gets.
std::vector<std::string>::const_iterator end_of_own(
    const std::vector<std::string>& arguments,
    const std::vector<std::unique_ptr<Parser>>& parsers) {
  const auto word = std::find_if(arguments.begin(), arguments.end(),
                                 [](const std::string& each) { return !each.starts_with('-'); });
  if (word == arguments.end()) return arguments.end();
  for (const auto& parser : parsers) {
    std::vector<std::string>* const rest = parser->flags.rest_target();
    if (rest == nullptr || parser->command->name != *word) continue;
    const auto end = std::find(word, arguments.end(), "--");
    if (end != arguments.end()) rest->assign(end + 1, arguments.end());
    return end;
  }
  return arguments.end();
}

std::string first_word(const std::string& name) { return name.substr(0, name.find(' ')); }

[[noreturn]] void fail_command(const std::string& word, const std::vector<Command>& commands,
                               const std::string& family) {
  std::vector<std::string> names;
  std::string list;
  for (const Command& command : commands) {
    if (!family.empty() && !command.name.starts_with(family + " ")) continue;
    names.push_back(command.name);
    list += (list.empty() ? "" : ", ") + command.name;
  }
  const std::string whole = family.empty() ? word : family + " " + word;
  if (word.empty()) {
    throw InputError(kWhere, "found no command" + (family.empty() ? "" : " after " + family),
                     "expected one of " + list, "infinipipe --help says what they do");
  }
  const std::string near = nearest(whole, names);
  throw InputError(kWhere, "unknown command '" + whole + "'",
                   near.empty() ? "expected one of " + list : "did you mean " + near + "?");
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& arguments,
                               const std::vector<Command>& commands) {
  CLI::App app;
  bool version = false;
  Parser top;  // the flags before a command
  add_common(app, top.quiet, top.verbose, top.help);
  app.add_flag("--version", version);
  app.require_subcommand(0, 1);  // a second command's name is an argument too many
  struct Family {
    CLI::App* app = nullptr;
    bool quiet = false;
    bool verbose = false;
    bool help = false;
  };
  std::map<std::string, Family> families;
  std::vector<std::unique_ptr<Parser>> parsers;
  for (const Command& command : commands) {
    CLI::App* parent = &app;
    std::string name = command.name;
    if (const std::size_t space = name.find(' '); space != std::string::npos) {
      Family& family = families[first_word(name)];
      if (family.app == nullptr) {
        family.app = app.add_subcommand(first_word(name));
        add_common(*family.app, family.quiet, family.verbose, family.help);
      }
      parent = family.app;
      name = name.substr(space + 1);
    }
    auto parser = std::make_unique<Parser>();
    parser->command = &command;
    parser->app = parent->add_subcommand(name);
    parser->declare();
    parsers.push_back(std::move(parser));
  }
  const auto own_end = end_of_own(arguments, parsers);
  try {
    app.parse(std::vector<std::string>(std::reverse_iterator(own_end), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    fail_parse(error);
  }

  CommandLine line;
  for (const auto& parser : parsers) {
    if (!parser->app->parsed()) continue;
    if (parser->help || top.help) {
      line.text = command_help(*parser->command, parser->flags);
      return line;
    }
    if (const auto extras = app.remaining(); !extras.empty()) {
      fail_unexpected(extras.front(), parser->flags);
    }
    parser->finish();
    const auto family = families.find(first_word(parser->command->name));
    const bool has_family = family != families.end();
    if (parser->quiet || top.quiet || (has_family && family->second.quiet)) {
      line.verbosity = Verbosity::kQuiet;
    } else if (parser->verbose || top.verbose || (has_family && family->second.verbose)) {
      line.verbosity = Verbosity::kVerbose;
    }
    line.run = parser->run;
    return line;
  }
  for (const auto& [name, family] : families) {
    if (!family.app->parsed()) continue;
    if (family.help || top.help) {
      line.text = program_help(commands, name);
      return line;
    }
    const auto extras = family.app->remaining();
    fail_command(extras.empty() ? "" : extras.front(), commands, name);
  }
  if (version) {
    line.text = version_text();
    return line;
  }
  const auto extras = app.remaining();
  if (top.help || (extras.size() == 1 && extras[0] == "help")) {
    line.text = program_help(commands);
    return line;
  }
  if (!extras.empty() && extras.front().starts_with('-')) fail_unexpected(extras.front(), {});
  fail_command(extras.empty() ? "" : extras.front(), commands, {});
}

}  // namespace infinipipe::cli

// A command's flags as a value: declared by the command, parsed by command_line.cpp, shown by
// help.cpp.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_uses.h"
#include "infinipipe/core/config.h"

namespace infinipipe::cli {

struct Flag {
  std::string name;   // "--out", "-q,--quiet"; without dashes: a positional argument
  std::string value;  // what stands for its value in the help; empty: a switch
  std::string help;
  std::string section;                          // heading in the help
  std::function<void(const std::string&)> set;  // each value, in order; "" for a switch
  bool required = false;
  bool repeated = false;  // else the last value counts
  bool hidden = false;    // understood, but not in the help
  // Where the value is a file's name or prefix: what is appended to it for each file ("" for the
  // name itself); empty where it is none.
  std::vector<std::string> suffixes;
  bool written = false;  // those files are written, not read
  // The names in a value that may have several; null: the value is the name.
  std::vector<std::string> (*names)(const std::string& value) = nullptr;

  Flag& reads(std::vector<std::string> with = {""});
  Flag& writes(std::vector<std::string> with = {""});

  // The files that a value of the flag names.
  std::vector<std::string> files(const std::string& value_given) const;

  bool positional() const { return name.empty() || name[0] != '-'; }
  std::string long_name() const;  // "--quiet" of "-q,--quiet"
};

// Names that a flag takes, with a line for each.
struct HelpList {
  std::string heading;
  std::vector<std::pair<std::string, std::string>> entries;
};

// --config FILE and the keys that were given as flags.
struct ConfigFlags {
  std::string file;
  ConfigValues values;                // as given
  std::vector<FileUse> files;         // of the command's flags
  std::vector<std::string> sections;  // of the keys that the command uses

  bool given(std::string_view key) const;
  // Flags over the file over `base`; as set_configs() does. Throws InputError
  // for unknown keys and wrong values, and where the files that they name and those of the flags
  // overwrite one another.
  // What is yet to be filled in is not checked.
  TrainConfig apply(TrainConfig base = {}) const;
  // The same, and throws as check() does.
  TrainConfig resolve(TrainConfig base = {}) const;
  // Throws InputError for what TrainConfig::check() refuses, naming the command line or the file
  // that a refused key's value is from; "config" where it is from neither.
  void check(const TrainConfig& config) const;
};

// Targets are written when the command line was understood, before the command runs; they must
// live until then. Functions return the flag, to set `required` and the like.
class Flags final {
 public:
  // Heading of the flags declared from here on.
  void section(std::string heading) { section_ = std::move(heading); }

  Flag& argument(std::string name, std::string& target, std::string help);  // required
  Flag& text(std::string name, std::string value, std::string& target, std::string help);
  Flag& texts(std::string name, std::string value, std::vector<std::string>& target,
              std::string help);
  // One of the choices, whose number is stored.
  Flag& choice(const std::string& name, std::vector<std::string> choices, std::size_t& target,
               std::string help);
  Flag& integer(const std::string& name, std::string value, std::int64_t& target, std::int64_t low,
                std::string help, std::int64_t high = std::numeric_limits<std::int64_t>::max());
  Flag& integer(const std::string& name, std::string value, std::optional<std::int64_t>& target,
                std::int64_t low, std::string help,
                std::int64_t high = std::numeric_limits<std::int64_t>::max());
  Flag& number(const std::string& name, std::string value, double& target, double low, double high,
               std::string help);
  Flag& toggle(std::string name, bool& target, std::string help);
  // --config and every key; those of the named sections are shown in the help.
  void config(ConfigFlags& target, const std::vector<std::string>& sections);

  // What the help lists after the flags: a table's names, each with its line.
  template <class Rows>
  void list(std::string heading, const Rows& rows) {
    HelpList& list = lists_.emplace_back(HelpList{std::move(heading), {}});
    for (const auto& row : rows) list.entries.emplace_back(row.name, row.line);
  }

  // What stands after "--", whatever it is; `name` stands for it in the usage.
  void rest(std::string name, std::vector<std::string>& target) {
    rest_name_ = std::move(name);
    rest_ = &target;
  }
  const std::string& rest_name() const { return rest_name_; }
  std::vector<std::string>* rest_target() const { return rest_; }

  // Any further argument or flag is taken and ignored.
  void ignore_rest() { ignores_rest_ = true; }

  const std::deque<Flag>& all() const { return flags_; }
  const std::vector<HelpList>& lists() const { return lists_; }
  bool ignores_rest() const { return ignores_rest_; }

  // The files of the flags that were given, with their values: checks that no output overwrites
  // another file of the command, and keeps them for those that a configuration file names.
  void set_files(std::vector<FileUse> files);

 private:
  Flag& add(std::string name, std::string value, std::string help,
            std::function<void(const std::string&)> set);

  std::string section_ = "Options";
  std::deque<Flag> flags_;  // references stay valid
  std::vector<HelpList> lists_;
  bool ignores_rest_ = false;
  std::string rest_name_;
  std::vector<std::string>* rest_ = nullptr;
  ConfigFlags* config_ = nullptr;
};

}  // namespace infinipipe::cli

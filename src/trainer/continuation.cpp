#include "trainer/continuation.h"

#include <utility>

#include "base/utf8.h"

namespace infinipipe {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// How much of the text no further token will change.
std::size_t settled(std::string_view text) {
  text = text.substr(0, whole_characters(text));
  while (text.ends_with(kReplacement)) text.remove_suffix(kReplacement.size());
  return text.size();
}

}  // namespace

Continuation::Continuation(const Tokenizer& tokenizer, std::vector<std::int64_t> before)
    : tokenizer_(tokenizer), tokens_(std::move(before)), before_(tokenizer.decode(tokens_)) {}

std::string Continuation::add(std::int64_t token) {
  tokens_.push_back(token);
  const std::string text = decoded();
  const std::size_t end = settled(text);
  if (end <= given_.size()) return {};
  std::string piece = text.substr(given_.size(), end - given_.size());
  given_ += piece;
  return piece;
}

std::string Continuation::finish() {
  const std::string text = decoded();
  if (text.size() <= given_.size()) return {};
  std::string piece = text.substr(given_.size());
  given_ += piece;
  return piece;
}

// Where the prompt ended within a character, its end changes: the rest then begins as it was cut.
std::string Continuation::decoded() const {
  const std::string all = tokenizer_.decode(tokens_);
  return all.size() > before_.size() ? all.substr(before_.size()) : std::string();
}

}  // namespace infinipipe

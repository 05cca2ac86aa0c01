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
  const std::string piece = give(settled(text), text);
  if (given_.size() == text.size()) forget_early_tokens();
  return piece;
}

std::string Continuation::finish() {
  const std::string text = decoded();
  return give(text.size(), text);
}

std::string Continuation::give(std::size_t end, const std::string& text) {
  if (end <= given_.size()) return {};
  std::string piece = text.substr(given_.size(), end - given_.size());
  given_ += piece;
  text_ += piece;
  return piece;
}

// So that a long text costs no more for each token than a short one. Everything was given out, so
// no character is cut here.
void Continuation::forget_early_tokens() {
  constexpr std::size_t kMost = 256;
  constexpr std::size_t kKept = 32;
  if (tokens_.size() <= kMost) return;
  tokens_.erase(tokens_.begin(), tokens_.end() - kKept);
  before_ = tokenizer_.decode(tokens_);
  given_.clear();
}

// Where the prompt ended within a character, its end changes: the rest then begins as it was cut.
std::string Continuation::decoded() const {
  const std::string all = tokenizer_.decode(tokens_);
  return all.size() > before_.size() ? all.substr(before_.size()) : std::string();
}

}  // namespace infinipipe

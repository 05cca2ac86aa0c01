// Small tokenizer.json files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"

namespace infinipipe {

// A byte-level BPE. Special tokens get the ids behind the vocabulary's; `begin` is put before every
// text where it is not empty.
inline Json tokenizer_json(const Json& vocabulary, const Json& merges,
                           const std::vector<std::string>& special, const std::string& begin = "") {
  Json added = Json::array();
  Json begins = Json::array();
  Json begin_tokens = Json::object();
  for (const std::string& token : special) {
    const std::size_t id = vocabulary.size() + added.size();
    added.push_back({{"id", id},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
    if (token != begin) continue;
    begins.push_back({{"SpecialToken", {{"id", begin}, {"type_id", 0}}}});
    begin_tokens[begin] = {
        {"id", begin}, {"ids", Json::array({id})}, {"tokens", Json::array({begin})}};
  }
  begins.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  const Json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", begins},
            {"pair", Json::array({begins.back(), second})},
            {"special_tokens", begin_tokens}}},
          {"decoder",
           {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", vocabulary},
            {"merges", merges}}}};
}

// Every printable ASCII character (ids 0 to 93, from '!'), the blank, the line break, and special
// tokens from id 96 on.
inline Json ascii_tokenizer(const std::vector<std::string>& special) {
  Json vocabulary = Json::object();
  for (char c = '!'; c <= '~'; ++c) vocabulary[std::string(1, c)] = c - '!';
  vocabulary["Ġ"] = 94;
  vocabulary["Ċ"] = 95;
  return tokenizer_json(vocabulary, Json::array(), special);
}

}  // namespace infinipipe

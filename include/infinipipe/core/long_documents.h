// What happens to documents that are longer than data.max_sequence_length, by the names that a
// configuration uses.
#pragma once

#include <array>
#include <cstddef>

namespace infinipipe {

enum class LongDocuments { kCut, kSplit, kDrop };

struct LongDocumentsRow {
  LongDocuments value;
  const char* name;
  const char* line;  // one line for help
};

// In the order of the enum.
inline constexpr std::array<LongDocumentsRow, 3> kLongDocuments = {{
    {LongDocuments::kCut, "cut", "only their beginning is trained on"},
    {LongDocuments::kSplit, "split", "in parts of that length, each a sequence of its own"},
    {LongDocuments::kDrop, "drop", "they are left out"},
}};

constexpr const char* to_string(LongDocuments choice) {
  return kLongDocuments[static_cast<std::size_t>(choice)].name;
}

}  // namespace infinipipe

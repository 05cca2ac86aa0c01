#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "data/safetensors.h"
#include "data/safetensors_format.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {
namespace {

constexpr std::int64_t kMaxSize = std::numeric_limits<std::int64_t>::max();

// A state machine over the only form a header can have, so that nothing is built for anything else:
// {NAME: {"dtype": TEXT, "shape": [N...], "data_offsets": [N, N]}, "__metadata__": {TEXT: TEXT}}.
class HeaderHandler final : public nlohmann::json_sax<Json> {
 public:
  HeaderHandler(SafetensorsHeader& header, std::string_view where)
      : header_(header), where_(where) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected("the number " + text.substr(0, 40));
  }
  bool number_integer(number_integer_t value) override {
    return unexpected("the number " + std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    const auto fits = value <= static_cast<std::uint64_t>(kMaxSize);
    if (state_ == State::kShape && fits) {
      std::vector<std::int64_t>& shape = entry_.info.shape;
      if (shape.size() == kMaxTensorRank) {
        fail("has over " + std::to_string(kMaxTensorRank) + " dimensions", "fewer");
      }
      shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets && fits && offsets_ < 2) {
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return unexpected("the number " + std::to_string(value));
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata && !metadata_key_.empty()) {
      if (header_.metadata.size() == kMaxSafetensorsMetadata) {
        fail("has over " + std::to_string(kMaxSafetensorsMetadata) + " keys", "fewer");
      }
      if (!header_.metadata.emplace(metadata_key_.substr(1), std::move(value)).second) {
        fail("key \"" + shown(metadata_key_.substr(1)) + "\" stands twice", "each key once");
      }
      metadata_key_.clear();
      return true;
    }
    if (state_ == State::kDtype) {
      entry_.info.dtype = std::move(value);
      state_ = State::kEntry;
      return true;
    }
    return unexpected("the string \"" + shown(value) + "\"");
  }

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop && name_ == kMetadata) {
      state_ = State::kMetadata;
    } else if (state_ == State::kTop) {
      state_ = State::kEntry;
      entry_ = {};
      entry_.info.name = name_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    if (state_ == State::kTop) {
      if (name == kMetadata && std::exchange(has_metadata_, true)) {
        fail("stands twice", "each name once");
      }
      name_ = std::move(name);
    } else if (state_ == State::kMetadata) {
      metadata_key_ = "=" + name;  // never empty while a value is due
    } else if (name == "dtype" && !std::exchange(has_dtype_, true)) {
      state_ = State::kDtype;
    } else if (name == "shape" && !std::exchange(has_shape_, true)) {
      state_ = State::kShapeStart;
    } else if (name == "data_offsets" && !std::exchange(has_offsets_, true)) {
      state_ = State::kOffsetsStart;
      offsets_ = 0;
    } else {
      fail("has the key \"" + shown(name) + "\"", "dtype, shape and data_offsets, each once");
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::kEntry) {
      if (!has_dtype_ || !has_shape_ || !has_offsets_) {
        fail(std::string("has no ") + (!has_dtype_   ? "dtype"
                                       : !has_shape_ ? "shape"
                                                     : "data_offsets"),
             "dtype, shape and data_offsets");
      }
      header_.tensors.push_back(std::move(entry_));
    }
    state_ = state_ == State::kTop ? State::kEnd : State::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShapeStart) {
      state_ = State::kShape;
    } else if (state_ == State::kOffsetsStart) {
      state_ = State::kOffsets;
    } else {
      unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::kOffsets && offsets_ != 2) {
      fail("data_offsets has " + std::to_string(offsets_) + " numbers", "2");
    }
    state_ = State::kEntry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text ends in a reason after "; last read" or the like: kept short, one line.
    const bool utf8 = std::string_view(error.what()).find("UTF-8") != std::string_view::npos;
    throw InputError(where_,
                     "header is not " + std::string(utf8 ? "UTF-8" : "JSON") + " at byte " +
                         std::to_string(position),
                     "expected a safetensors header");
  }

 private:
  static constexpr std::string_view kMetadata = "__metadata__";
  enum class State {
    kStart,
    kTop,
    kMetadata,
    kEntry,
    kDtype,
    kShapeStart,
    kShape,
    kOffsetsStart,
    kOffsets,
    kEnd
  };

  static std::string shown(const std::string& text) {
    return text.size() <= 80 ? text : text.substr(0, 77) + "...";
  }

  [[noreturn]] void fail(const std::string& found, const std::string& expected) const {
    throw InputError(std::string(where_) + (name_.empty() ? "" : ": \"" + shown(name_) + "\""),
                     found, "expected " + expected);
  }

  bool unexpected(const std::string& found) const {
    switch (state_) {
      case State::kStart:
      case State::kEnd:
        fail("header is " + found, "an object");
      case State::kMetadata:
        fail("holds " + found, "strings alone");
      case State::kDtype:
        fail("dtype is " + found, "a string");
      case State::kShapeStart:
      case State::kShape:
        fail("shape holds " + found, "an array of whole numbers from 0 to 2^63 - 1");
      case State::kOffsetsStart:
      case State::kOffsets:
        fail("data_offsets holds " + found, "two whole numbers from 0 to 2^63 - 1");
      case State::kTop:
      case State::kEntry:
        break;
    }
    fail("is " + found, "an object");
  }

  SafetensorsHeader& header_;
  std::string_view where_;
  State state_ = State::kStart;
  std::string name_;  // of the current entry
  std::string metadata_key_;
  SafetensorsHeader::Entry entry_;
  int offsets_ = 0;
  bool has_metadata_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

std::string label(std::string_view where, const SafetensorsHeader::Entry& entry) {
  return std::string(where) + ": \"" + entry.info.name.substr(0, 80) + "\"";
}

std::string range(const SafetensorsHeader::Entry& entry) {
  return "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")";
}

void check_size(const SafetensorsHeader::Entry& entry, std::uint64_t buffer_bytes,
                std::string_view where) {
  const auto fail = [&](const std::string& found, const std::string& expected) {
    throw InputError(label(where, entry), found, "expected " + expected);
  };
  if (tensor_dtype_width(entry.info.dtype) == 0) {
    fail("dtype is \"" + entry.info.dtype.substr(0, 40) + "\"", "one of " + known_tensor_dtypes());
  }
  if (entry.begin > entry.end) fail("data_offsets are " + range(entry), "begin <= end");
  if (entry.end > buffer_bytes) {
    fail("data_offsets are " + range(entry),
         "an end within the " + std::to_string(buffer_bytes) + " bytes after the header");
  }
  const auto bytes = tensor_bytes(entry.info);
  if (!bytes) fail("its shape has over 2^63 bytes", "a smaller one");
  if (*bytes != entry.end - entry.begin) {
    fail("data_offsets are " + range(entry),
         std::to_string(*bytes) + " bytes, as dtype and shape say");
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t buffer_bytes,
                                           std::string_view where) {
  if (!json.starts_with('{')) {
    throw InputError(where, "header does not start with {", "expected a safetensors header");
  }
  if (const std::size_t nul = json.find('\0'); nul != std::string_view::npos) {
    throw InputError(where, "header has a NUL at byte " + std::to_string(nul + 1),
                     "expected a safetensors header");  // the library takes it for the end
  }
  SafetensorsHeader header;
  HeaderHandler handler(header, where);
  if (!Json::sax_parse(json.begin(), json.end(), &handler)) {
    throw InputError(where, "header is not JSON", "expected a safetensors header");
  }
  for (const auto& entry : header.tensors) check_size(entry, buffer_bytes, where);

  std::vector<std::string_view> names;
  names.reserve(header.tensors.size());
  for (const auto& entry : header.tensors) names.push_back(entry.info.name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    throw InputError(std::string(where) + ": \"" + std::string(twice->substr(0, 80)) + "\"",
                     "stands twice", "expected each name once");
  }

  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t end = 0;
  for (const auto& entry : header.tensors) {
    if (entry.begin != end) {
      throw InputError(label(where, entry), "data_offsets are " + range(entry),
                       "expected to begin at " + std::to_string(end) +
                           (entry.begin < end ? "; it overlaps the tensor before"
                                              : "; there is a hole before it"));
    }
    end = entry.end;
  }
  if (end != buffer_bytes) {
    throw InputError(where, "has " + std::to_string(buffer_bytes) + " bytes after the header",
                     "expected " + std::to_string(end) + ", where the last tensor ends");
  }
  return header;
}

}  // namespace infinipipe

#include <algorithm>
#include <map>

#include "report/comparison.h"
#include "report/system_row.h"
#include "report/text_table.h"

namespace infinipipe {

namespace {

std::string number_of(const Json& settings, const char* key) { return settings.at(key).dump(); }

}  // namespace

std::string settings_text(const Json& settings) {
  std::vector<std::string> parts;
  const auto add = [&](const char* key, const char* before, const char* after) {
    if (!settings.is_object() || !settings.contains(key)) return;
    const Json& value = settings.at(key);
    if (value.is_number() && value.get<double>() <= 0.0) return;
    parts.push_back(before + (value.is_string() ? value.get<std::string>() : value.dump()) + after);
  };
  add("stages", "PP ", "");
  add("tensor_parallel", "TP ", "");
  add("context_parallel", "CP ", "");
  add("ranks", "", " ranks");
  add("sequence_parallel", "SP ", "");
  add("data_parallel", "DP ", "");
  add("schedule", "", "");
  add("slices", "K ", "");
  if (settings.is_object() && settings.contains("groups") && settings.at("groups").is_array()) {
    std::map<int, int, std::greater<>> degrees;
    for (const Json& step : settings.at("groups")) {
      for (const Json& degree : step.at("degrees")) ++degrees[degree.get<int>()];
    }
    std::string text = "groups";
    for (const auto& [degree, count] : degrees) {
      text += " " + std::to_string(count) + "x" + std::to_string(degree);
    }
    parts.push_back(text);
  }
  add("micro_batches", "", " micro-batches");
  add("packing", "", "");
  if (settings.is_object() && settings.contains("recomputed_layers") &&
      settings.at("recomputed_layers") != 0) {
    parts.push_back("recompute " + number_of(settings, "recomputed_layers"));
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

std::vector<SystemRow> system_rows(const Comparison& comparison) {
  std::vector<SystemRow> result;
  for (const ComparisonSummary& summary : comparison.summary()) {
    SystemRow row;
    row.summary = summary;
    Tokens tokens = 0;
    Seconds seconds = 0.0;
    std::vector<std::pair<std::string, int>> settings;
    for (const ComparisonRow& one : comparison.rows) {
      if (one.planner != summary.planner) continue;
      if (one.status != "ok") {
        if (row.reason.empty())
          row.reason = "batch " + std::to_string(one.batch) + ": " + one.reason;
        continue;
      }
      tokens += comparison.batch_tokens.at(static_cast<std::size_t>(one.batch));
      seconds += one.seconds;
      row.bubble += one.bubble / summary.batches;
      row.plan_mean += one.plan_seconds / summary.batches;
      for (const Bytes peak : one.peak_bytes) row.peak = std::max(row.peak, peak);
      const std::string text = settings_text(one.settings);
      const auto found = std::find_if(settings.begin(), settings.end(),
                                      [&](const auto& entry) { return entry.first == text; });
      if (found == settings.end()) {
        settings.emplace_back(text, 1);
      } else {
        ++found->second;
      }
    }
    if (seconds > 0.0) row.tokens_per_second = static_cast<double>(tokens) / seconds;
    for (const auto& [text, count] : settings) {
      if (count <= row.settings_count) continue;
      row.settings = text;
      row.settings_count = count;
    }
    result.push_back(std::move(row));
  }
  return result;
}

std::string systems_table(const Comparison& comparison) {
  const bool speedups =
      std::any_of(comparison.rows.begin(), comparison.rows.end(),
                  [&](const ComparisonRow& row) { return row.planner == comparison.reference; });
  const Json measured =
      comparison.notes.is_object() && comparison.notes.contains("measured_seconds")
          ? comparison.notes.at("measured_seconds")
          : Json::object();
  std::vector<std::vector<std::string>> table;
  std::vector<std::string> head = {"system", "batches", "step s",    "tokens/s",
                                   "bubble", "peak",    "over bound"};
  if (speedups) head.push_back(comparison.reference + " is faster by");
  if (!measured.empty()) {
    head.insert(head.end(), {"with allowance", "measured", "error"});
  }
  head.insert(head.end(), {"planning", "settings (most batches)"});
  table.push_back(head);
  std::string reasons;
  for (const SystemRow& row : system_rows(comparison)) {
    const ComparisonSummary& s = row.summary;
    const bool any = s.batches > 0;
    std::vector<std::string> line = {s.planner, std::to_string(s.batches)};
    line.push_back(any ? fixed(s.seconds_mean, 3) : "-");
    line.push_back(any ? format_count(static_cast<std::int64_t>(row.tokens_per_second)) : "-");
    line.push_back(any ? percent(row.bubble) : "-");
    line.push_back(any ? format_bytes(row.peak) : "-");
    line.push_back(any ? percent(s.gap_mean) : "-");
    if (speedups) {
      line.push_back(s.speedup_mean > 0.0
                         ? fixed(s.speedup_mean, 2) + "x (" + fixed(s.speedup_min, 2) + "-" +
                               fixed(s.speedup_max, 2) + ")"
                         : "-");
    }
    if (!measured.empty()) {
      const Seconds with = s.seconds_mean + comparison.allowance;
      const bool known = any && measured.contains(s.planner);
      const Seconds there = known ? measured.at(s.planner).get<double>() : 0.0;
      line.push_back(any ? fixed(with, 3) : "-");
      line.push_back(known ? fixed(there, 2) : "-");
      line.push_back(known ? percent(with / there - 1.0) : "-");
    }
    line.push_back(any ? format_seconds(row.plan_mean) : "-");
    line.push_back(any ? row.settings : "out of memory");
    table.push_back(std::move(line));
    if (!row.reason.empty()) reasons += s.planner + ": " + row.reason + "\n";
  }
  std::string text = aligned(table, /*text_ends=*/true);
  if (!reasons.empty()) text += "\n" + reasons;
  if (comparison.allowance > 0.0) {
    text += "\nStep seconds are the model's alone; the allowance is " +
            format_seconds(comparison.allowance) + " a step.\n";
  }
  return text;
}

}  // namespace infinipipe

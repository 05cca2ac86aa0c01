// What a checkpoint's folder says: a manifest that is accepted goes on as a run would, and whatever
// `latest` holds, a checkpoint that is whole is found. Input that starts with `{` is manifest.json,
// all else is `latest`.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/sampler.h"
#include "fuzz/scratch_file.h"
#include "infinipipe/core/config.h"
#include "trainer/calibrator.h"
#include "trainer/checkpoint.h"
#include "trainer/identity.h"
#include "trainer/profile.h"
#include "trainer/resume.h"
#include "trainer/run_record.h"

namespace infinipipe::fuzz {
namespace {

// Reading a folder looks at its files' hashes alone. Seeds hold those of these two.
constexpr std::string_view kWeights = "weights\n";
constexpr std::string_view kMoments = "moments\n";

void put_step(const ScratchFolder& scratch, const std::string& folder, std::string_view manifest) {
  std::filesystem::create_directories(scratch.path(folder));
  scratch.put(folder + "/model.safetensors", kWeights);
  scratch.put(folder + "/optimizer.safetensors", kMoments);
  scratch.put(folder + "/manifest.json", manifest);
}

std::string whole_manifest(int step) {
  const Json files = {{{"name", "model.safetensors"}, {"hash", hash_hex(kWeights)}},
                      {{"name", "optimizer.safetensors"}, {"hash", hash_hex(kMoments)}}};
  Json manifest = {{"format", "infinipipe.checkpoint"},
                   {"version", 1},
                   {"next_step", step},
                   {"config", Json::object()},
                   {"sampler", {{"step", step}}},
                   {"run", {{"id", "0123456789abcdef"}}},
                   {"files", files}};
  manifest["hash"] = hash_json(manifest);
  return manifest.dump();
}

void require_one_line(const std::string& line) {
  require(line.find('\n') == std::string::npos, "a warning of more than one line");
}

// The values that a checkpoint would name are those that it is read with.
void check_config(const TrainConfig& config) {
  TrainConfig again;
  for (const bool preset : {true, false}) {
    for (const ConfigKey& key : config_keys()) {
      if ((key.name == "model.preset") == preset) set_config(again, key.name, key.get(config), "");
    }
  }
  for (const ConfigKey& key : config_keys())
    require(key.get(again) == key.get(config), "a configuration changes when written and read");
}

void check_record(const CheckpointInfo& info) {
  RunRecord record;
  if (!accepts([&] { record = run_record(info.record.run, "manifest"); })) return;
  require(record.goodput() >= 0.0 && record.goodput() <= 1.0, "a goodput that cannot be");
  const Json json = to_json(record);
  require(to_json(run_record(json, "again")) == json, "a run changes when written and read");
}

void check_planning(const CheckpointInfo& info) {
  if (!accepts([&] { info.config.check(); })) return;
  const auto ignore = [](const std::string&) {};
  accepts([&] {
    TrainConfig config = info.config;
    config.cluster.profile.clear();
    const std::optional<Profile> profile = saved_profile(config, info, ignore);
    if (profile) require_profile_of(config, *profile, "profile", ignore);
  });
  if (!info.record.planning.is_object()) return;
  const int stages = std::min(info.config.parallelism.stages, 64);
  Calibrator calibrator(stages, 2, true);
  if (!accepts([&] { calibrator.restore(saved_planning(info).at("calibration")); })) return;
  for (const double pace : calibrator.pace_for(info.next_step))
    require(pace >= 0.25 && pace <= 4.0, "a pace that cannot be");
  const Json state = calibrator.state();
  Calibrator again(stages, 2, true);
  again.restore({state, "again"});
  require(again.state() == state, "paces change when written and read");
}

void check_manifest(std::string_view bytes) {
  static const ScratchFolder scratch(".manifest");
  static const bool older = [] {
    put_step(scratch, "step-000003", whole_manifest(3));
    put_step(scratch, "step-000005", "");
    return true;
  }();
  require(older, "");
  scratch.put("step-000005/manifest.json", bytes);
  CheckpointInfo info;
  const std::string folder = scratch.path("step-000005");
  const bool whole = accepts([&] { info = find_checkpoint(folder); });
  CheckpointInfo found;
  std::vector<std::string> notes;
  if (accepts([&] { found = find_checkpoint(scratch.path("."), &notes); })) {
    require(found.folder.ends_with("step-000005") == whole, "the wrong one is found");
    const auto passed_over = [](const std::string& note) {
      return note.starts_with("passed over");
    };
    require(!whole || std::none_of(notes.begin(), notes.end(), passed_over),
            "what is whole is passed over");
  } else {
    require(!whole, "a checkpoint that is whole is not found");
  }
  std::for_each(notes.begin(), notes.end(), require_one_line);
  if (!whole) return;
  require(info.next_step >= 0, "a step that cannot be");
  check_config(info.config);
  check_record(info);
  check_planning(info);
  accepts([&] {
    const Sampler sampler(12, 4, 1);
    require(sampler.restore({info.sampler, "manifest", "sampler"}) == info.next_step,
            "the sampler goes on elsewhere");
  });
  compare_identity({{"path", "data"}, {"fingerprint", "0"}}, {{"name", "byte"}}, info.record.data,
                   info.record.tokenizer, folder, [](const std::string&) {});
}

void check_latest(std::string_view bytes) {
  static const ScratchFolder scratch(".latest");
  static const bool made = [] {
    for (const int step : {3, 7}) put_step(scratch, step_name(step), whole_manifest(step));
    return true;
  }();
  require(made, "");
  scratch.put("latest", bytes);
  accepts([&] {
    const CheckpointInfo info = find_checkpoint(scratch.path("."));
    require(info.next_step == 3 || info.next_step == 7, "a step that is not there");
    require(info.folder == scratch.path("./" + step_name(info.next_step)),
            "a folder of another name");
  });
}

void run(std::string_view bytes) {
  if (bytes.starts_with('{')) {
    check_manifest(bytes);
  } else {
    check_latest(bytes);
  }
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}

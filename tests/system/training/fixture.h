// A small corpus and configuration in a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/checkpoint.h"

namespace infinipipe {

class TrainingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = (std::filesystem::path(::testing::TempDir()) /
               (std::string("infinipipe_") + info->test_suite_name() + "_" + info->name()))
                  .string();
    std::filesystem::remove_all(folder_);
    make_folder(folder_);
    write_corpus(40, 1);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Documents of a small repetitive language, 1 to 600 tokens.
  void write_corpus(int documents, std::uint64_t seed, const std::string& name = "/data") {
    Random random(seed);
    IndexedDatasetWriter writer(folder_ + name, token_dtype_for(257));
    for (int i = 0; i < documents; ++i) {
      const std::int64_t length = i % 7 == 0 ? random.between(300, 600) : random.between(1, 80);
      std::vector<std::int64_t> tokens;
      std::int64_t state = random.between(0, 9);
      while (static_cast<std::int64_t>(tokens.size()) + 1 < length) {
        tokens.push_back('a' + state);
        state = (state * 3 + random.between(0, 1)) % 10;
      }
      tokens.push_back(256);
      writer.append(tokens);
      writer.end_document();
    }
    writer.finish();
  }

  TrainConfig config(int stages = 2) const {
    TrainConfig config;
    config.model.vocab_size = 257;
    config.model.hidden_size = 32;
    config.model.intermediate_size = 64;
    config.model.num_hidden_layers = 4;
    config.model.num_attention_heads = 2;
    config.model.num_key_value_heads = 1;
    config.data.path = folder_ + "/data";
    config.data.max_sequence_length = 512;
    config.training.steps = 6;
    config.training.sequences_per_step = 6;
    config.optimizer.lr = 1e-2;
    config.optimizer.warmup_steps = 2;
    config.optimizer.decay_steps = 20;
    config.parallelism.stages = stages;
    config.planner.slices = 3;
    config.cluster.profile = "estimate";
    config.checkpoint.path = folder_ + "/checkpoints";
    config.metrics.path = folder_ + "/metrics.jsonl";
    return config;
  }

  // With the weights and moments of a checkpoint.
  static std::unique_ptr<Engine> engine_of(const CheckpointInfo& info, const ModelSpec& model,
                                           const std::vector<LayerRange>& stages) {
    Engine::Options options;
    options.model = model;
    options.stages = stages;
    auto engine = std::make_unique<Engine>(options);
    load_checkpoint(info, *engine, true);
    return engine;
  }

  // A fresh run takes the place of an earlier one in the same folder.
  static TrainOptions options_of(const TrainConfig& config, bool resume = false) {
    TrainOptions options;
    options.config = config;
    options.resume = resume;
    options.overwrite = !resume;
    return options;
  }

  static std::vector<StepMetrics> run(const TrainConfig& config, bool resume = false) {
    std::vector<StepMetrics> steps;
    TrainOptions options = options_of(config, resume);
    options.on_step = [&steps](const StepMetrics& metrics) { steps.push_back(metrics); };
    train(options);
    return steps;
  }

  // What was said, and how it ended.
  struct Said {
    std::string error;  // empty: it went well
    std::vector<std::string> log;
    std::vector<std::string> warnings;
    TrainResult result;
  };
  static Said listen(TrainOptions options) {
    Said said;
    options.log = [&said](const std::string& line) { said.log.push_back(line); };
    options.warn = [&said](const std::string& line) { said.warnings.push_back(line); };
    try {
      said.result = train(options);
    } catch (const Error& error) {
      said.error = error.what();
    }
    return said;
  }

  void write_documents(const std::vector<std::vector<std::int64_t>>& documents) const {
    IndexedDatasetWriter writer(folder_ + "/data", token_dtype_for(65'000));
    for (const auto& tokens : documents) {
      writer.append(tokens);
      writer.end_document();
    }
    writer.finish();
  }

  std::vector<Json> metrics_lines() const {
    std::vector<Json> lines;
    const std::string text = read_file(folder_ + "/metrics.jsonl");
    std::size_t begin = 0;
    for (std::size_t end = text.find('\n'); end != std::string::npos;
         begin = end + 1, end = text.find('\n', begin)) {
      lines.push_back(parse_json(text.substr(begin, end - begin), "metrics"));
    }
    return lines;
  }

  std::string folder_;
};

}  // namespace infinipipe

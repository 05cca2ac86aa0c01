// Trains a tiny model for a few steps on documents made here, over two pipeline stages.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/trainer/trainer.h"

using namespace infinipipe;

// Documents that count upwards, so that there is something to learn; lengths from 8 to 1,000.
void write_documents(const std::string& prefix) {
  IndexedDatasetWriter writer(prefix, TokenDtype::kUint16);
  for (int document = 0; document < 64; ++document) {
    std::vector<std::int64_t> ids;
    for (int i = 0; i < 8 + document * document % 993; ++i) ids.push_back((document + i) % 64);
    writer.append(ids);
    writer.end_document();
  }
  writer.finish();
}

int main() try {
  write_documents("counting");
  TrainOptions options;
  TrainConfig& config = options.config;
  config.model = {
      .vocab_size = 64, .hidden_size = 64, .intermediate_size = 128, .num_hidden_layers = 4};
  config.data.path = "counting";
  config.training.steps = 10;
  config.parallelism.stages = 2;
  config.cluster.profile = "estimate";  // instead of a minute's measuring of this machine
  config.checkpoint.path = "checkpoints";
  options.on_step = [](const StepMetrics& step) { std::printf("%s\n", step_line(step).c_str()); };

  const TrainResult result = train(options);
  std::printf("loss %.3f -> %.3f, saved in %s\n", result.first_loss, result.last_loss,
              result.checkpoint.c_str());
  return result.last_loss < result.first_loss ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}

#include "trainer/serve.h"

#include "runtime/rank_server.h"
#include "trainer/checkpoint_state.h"
#include "trainer/model_from.h"

namespace infinipipe {

void serve_driver(Ranks& ranks, const std::atomic<bool>& stop) {
  ServeOptions options;
  options.jobs = checkpoint_jobs();
  options.jobs.push_back(&kLoadStartingWeights);
  options.stop = &stop;
  serve(ranks, options);
}

}  // namespace infinipipe

#include "runtime/rank_endpoints.h"

#include <utility>

#include "comm/checked_communicator.h"
#include "comm/rank_layout.h"
#include "comm/thread_communicator.h"
#include "dist/ranks.h"
#include "model/common/dtype.h"
#include "runtime/cuda_devices.h"
#include "runtime/local_ranks.h"

namespace infinipipe {

std::vector<std::unique_ptr<TensorCommunicator>> make_endpoints(const EngineOptions& options) {
  const RankLayout layout = options.layout();
  std::vector<std::unique_ptr<TensorCommunicator>> endpoints;
  if (options.ranks != nullptr) {
    options.ranks->set_layout(layout);
    CommunicatorOptions communicator;
    communicator.activations = scalar_type(options.dtype);
    communicator.parameters = options.dtype == Dtype::kFloat64 ? at::kDouble : at::kFloat;
    communicator.device = rank_device(options.device, place_on_machine(options, 0));
    communicator.nccl = options.nccl;
    communicator.direct_copies = options.direct_copies;
    communicator.check = options.check_messages;
    communicator.on_failure = [ranks = options.ranks](const StageFailure& failure) {
      ranks->fail(failure);
    };
    endpoints.push_back(options.ranks->world().communicator(layout, communicator));
  } else if (options.check_messages) {
    for (auto& inner : make_thread_communicators<CheckedMessage<at::Tensor>>(layout))
      endpoints.push_back(std::make_unique<CheckedCommunicator<at::Tensor>>(std::move(inner)));
  } else {
    endpoints = make_thread_communicators<at::Tensor>(layout);
  }
  return endpoints;
}

}  // namespace infinipipe

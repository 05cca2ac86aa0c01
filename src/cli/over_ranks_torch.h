// Commands over the processes that a launcher has started.
#pragma once

#include <functional>

#include "cli/console.h"
#include "infinipipe/core/config.h"

namespace infinipipe {
class Ranks;
struct Launch;
}  // namespace infinipipe

namespace infinipipe::cli {

// Runs `body` in the first process, which drives the others; these serve it and return when it is done.
// A process that nobody started together with others runs it alone: both pointers are null then.
// `given`: the configuration as far as flags and file have it, for how processes watch each other.
void over_ranks(Console& console, const std::function<TrainConfig()>& given,
                const std::function<void(Ranks*, const Launch*)>& body);

}  // namespace infinipipe::cli

// Gloo, as it is inside LibTorch: the engine for CPU tensors and for control.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <functional>
#include <string>

#include "infinipipe/base/units.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace infinipipe {

// Makes one group of `size` ranks that meet in the store, whose keys no other group may use. All of
// them call it; returns when all have. Throws std::exception, as c10d does, when they do not come.
using GroupFactory = std::function<c10::intrusive_ptr<c10d::Backend>(
    const c10::intrusive_ptr<c10d::Store>& store, int rank, int size)>;

// Groups whose members reach this process at `address`, one of this host's. They wait `seconds` for
// each other at the start.
GroupFactory gloo_groups(const std::string& address, Seconds seconds);

}  // namespace infinipipe

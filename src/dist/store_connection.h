// Where the processes of a run meet: torch's key-value store.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <functional>
#include <string>

#include "dist/launch_environment.h"
#include "infinipipe/base/units.h"

namespace c10d {
class Store;
}  // namespace c10d

namespace infinipipe {

struct StoreConnection {
  c10::intrusive_ptr<c10d::Store> store;
  // Another connection to the same store: a call that blocks holds its client's lock.
  std::function<c10::intrusive_ptr<c10d::Store>()> new_client;
  std::string address;  // of this host, as the store's host reaches it
};

// Rank 0 serves the store unless the launcher does. Where all ranks are on this host it listens on
// loopback alone; else on all interfaces, with no check of who comes, so the network must be
// trusted. Other ranks wait `seconds` for it. Throws RunError.
StoreConnection connect_store(const Launch& launch, Seconds seconds);

// The address of this host from which a connection to `host` would go out; empty if `host` is not
// known. Nothing is sent.
std::string address_towards(const std::string& host, int port);
bool is_loopback(const std::string& address);

}  // namespace infinipipe

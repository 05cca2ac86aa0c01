#include "dist/store_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "base/loopback.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

std::string place(const Launch& launch) {
  return launch.address + ":" + std::to_string(launch.port);
}

int listen_for_store(const Launch& launch) {
  const int socket = listen_at_loopback(launch.port);
  if (socket < 0) {
    throw RunError("rank 0 cannot listen at " + place(launch), std::strerror(errno),
                   "expected a free port", "set MASTER_PORT to another one on all ranks");
  }
  return socket;
}

c10d::TCPStoreOptions client_options(const Launch& launch, Seconds seconds) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(launch.port);
  options.waitWorkers = false;
  options.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds));
  return options;
}

}  // namespace

std::string address_towards(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return "";
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, &freeaddrinfo);
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    const int socket = ::socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) continue;
    sockaddr_storage own{};
    socklen_t size = sizeof(own);
    char text[NI_MAXHOST];
    const bool found = connect(socket, one->ai_addr, one->ai_addrlen) == 0 &&
                       getsockname(socket, reinterpret_cast<sockaddr*>(&own), &size) == 0 &&
                       getnameinfo(reinterpret_cast<const sockaddr*>(&own), size, text,
                                   sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0;
    close(socket);
    if (found) return text;
  }
  return "";
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

StoreConnection connect_store(const Launch& launch, Seconds seconds) {
  c10d::TCPStoreOptions options = client_options(launch, seconds);
  options.isServer = launch.rank == 0 && !launch.store_is_there;
  if (options.isServer) {
    if (launch.listen_fd >= 0) {
      fcntl(launch.listen_fd, F_SETFD, FD_CLOEXEC);
      options.masterListenFd = launch.listen_fd;
    } else if (launch.one_host()) {
      options.masterListenFd = listen_for_store(launch);
    }
  }
  const std::string prefix = "infinipipe" + launch.key_prefix;
  const auto client = [launch, prefix](const c10d::TCPStoreOptions& with) {
    return c10::make_intrusive<c10d::PrefixStore>(
        prefix, c10::make_intrusive<c10d::TCPStore>(launch.address, with));
  };
  StoreConnection connection;
  try {
    connection.store = client(options);
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    throw RunError(options.isServer ? "rank 0 cannot serve the store at " + place(launch)
                                    : "rank " + std::to_string(launch.rank) +
                                          " cannot reach the store at " + place(launch),
                   reason.substr(0, reason.find('\n')), "",
                   "check MASTER_ADDR and MASTER_PORT, and rank 0's output");
  }
  connection.new_client = [launch, client, seconds] {
    return client(client_options(launch, seconds));
  };
  connection.address = address_towards(launch.address, launch.port);
  return connection;
}

}  // namespace infinipipe

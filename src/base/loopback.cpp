#include "base/loopback.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace infinipipe {

int listen_at_loopback(int port) {
  const int made = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) return -1;
  const int yes = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // A port that is asked for may have been another run's a moment ago.
  if ((port == 0 || ::setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0) &&
      ::bind(made, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      ::listen(made, SOMAXCONN) == 0) {
    return made;
  }
  const int why = errno;
  ::close(made);
  errno = why;
  return -1;
}

}  // namespace infinipipe

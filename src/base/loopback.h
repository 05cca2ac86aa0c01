// Listening where only this host's processes can connect.
#pragma once

namespace infinipipe {

// A socket that listens at 127.0.0.1 and is closed on exec; port 0: any that is free. -1 where
// there is none, with errno.
int listen_at_loopback(int port);

}  // namespace infinipipe

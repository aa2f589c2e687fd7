// Ends this process's connections on a port, which gRPC has no call for.
#pragma once

namespace torchd {

// Nothing listens on TCP port `port` of this process any more, and its connections are at their
// end; callers see UNAVAILABLE at once. The sockets stay their owner's to close.
void CutConnections(int port);

}  // namespace torchd

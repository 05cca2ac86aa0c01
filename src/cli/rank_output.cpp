#include "cli/rank_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

constexpr std::size_t kEnough = std::size_t{1} << 16;       // bytes that may wait for our reader
constexpr std::size_t kLongestLine = std::size_t{1} << 16;  // of a rank; the rest is a line more
constexpr auto kLongestWait = std::chrono::seconds(1);      // for the end of rank 0's line

bool same_file(int a, int b) {
  struct stat first {};
  struct stat second {};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace

RankOutput::RankOutput() {
  sinks_.push_back({.fd = STDOUT_FILENO});
  if (!same_file(STDOUT_FILENO, STDERR_FILENO)) {
    sinks_.push_back({.fd = STDERR_FILENO});
    sink_of_[1] = 1;
  }
}

RankOutput::~RankOutput() {
  for (const Source& source : sources_) ::close(source.fd);
}

std::array<int, 2> RankOutput::open(int rank) {
  std::array<int, 2> ends = {-1, -1};
  for (std::size_t sink = 0; sink < sinks_.size(); ++sink) {
    if (rank == 0 && ::isatty(sinks_[sink].fd) == 1) continue;
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
      throw RunError("launch", std::string("no pipe for a rank: ") + std::strerror(errno));
    }
    ::fcntl(pipe[0], F_SETFL, O_NONBLOCK);
    sources_.push_back({.fd = pipe[0], .rank = rank, .sink = sink});
    for (std::size_t stream = 0; stream < 2; ++stream) {
      if (sink_of_[stream] == sink) ends[stream] = pipe[1];
    }
    if (rank == 0 && sinks_[sink].gone) {  // nobody reads: it shall see so
      ::close(pipe[0]);
      sources_.pop_back();
    }
  }
  return ends;
}

void RankOutput::close(int rank) {
  for (Source& source : sources_) {
    if (source.rank != rank) continue;
    // A rank that was ended leaves at most what its pipe holds; children of it that live on could
    // write for ever.
    for (int reads = 0; reads < 64 && read(source); ++reads) {
    }
    if (rank != 0 && !source.line.empty()) take(source, "\n");
    ::close(source.fd);
    source.fd = -1;
  }
  std::erase_if(sources_, [](const Source& source) { return source.fd < 0; });
  if (rank != 0) return;
  for (Sink& sink : sinks_) release(sink);
}

bool RankOutput::read(Source& source) {
  std::array<char, 16384> bytes{};
  ssize_t got = -1;
  do {
    got = ::read(source.fd, bytes.data(), bytes.size());
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return false;
  take(source, {bytes.data(), static_cast<std::size_t>(got)});
  return true;
}

void RankOutput::take(Source& source, std::string_view text) {
  Sink& sink = sinks_[source.sink];
  if (source.rank == 0) {
    if (sink.gone) return;
    const std::size_t lines = text.rfind('\n') + 1;  // 0 where none ends
    sink.waiting += text.substr(0, lines);
    if (lines > 0) sink.open = false;
    if (!sink.open) release(sink);
    sink.waiting += text.substr(lines);
    if (lines < text.size() && !sink.open) sink.open_since = Clock::now();
    sink.open = sink.open || lines < text.size();
    return;
  }
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    source.line += text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (end == std::string_view::npos && source.line.size() < kLongestLine) return;
    put_line(sink, "[rank " + std::to_string(source.rank) + "] " + source.line);
    source.line.clear();
  }
}

void RankOutput::say(std::string_view line) { put_line(sinks_[sink_of_[1]], line); }

void RankOutput::put_line(Sink& sink, std::string_view line) {
  if (sink.gone) return;
  (sink.held += line) += '\n';
  if (!sink.open) release(sink);
}

// Lets the held lines go, after the end of a line that rank 0 left open.
void RankOutput::release(Sink& sink) {
  if (sink.held.empty()) return;
  if (sink.open) sink.waiting += '\n';
  sink.open = false;
  sink.waiting += sink.held;
  sink.held.clear();
}

void RankOutput::wait_for(std::vector<pollfd>& polls) const {
  for (const Sink& sink : sinks_) {
    if (!sink.waiting.empty()) polls.push_back({sink.fd, POLLOUT, 0});
  }
  for (const Source& source : sources_) {
    const Sink& sink = sinks_[source.sink];
    if (sink.waiting.size() + sink.held.size() < kEnough) polls.push_back({source.fd, POLLIN, 0});
  }
}

RankOutput::Clock::time_point RankOutput::deadline() const {
  Clock::time_point first = kNever;
  for (const Sink& sink : sinks_) {
    if (!sink.held.empty()) first = std::min(first, sink.open_since + kLongestWait);
  }
  return first;
}

void RankOutput::handle(std::span<const pollfd> found) {
  for (const pollfd& poll : found) {
    if (poll.revents == 0) continue;
    for (Sink& sink : sinks_) {
      if (sink.fd == poll.fd) write(sink);
    }
    const auto source = std::find_if(sources_.begin(), sources_.end(),
                                     [&](const Source& each) { return each.fd == poll.fd; });
    if (source == sources_.end() || read(*source)) continue;
    if ((poll.revents & (POLLHUP | POLLERR)) == 0) continue;
    // The rank closed it, and lives on; what it began stands as it is.
    if (source->rank != 0 && !source->line.empty()) take(*source, "\n");
    ::close(source->fd);
    sources_.erase(source);
  }
  for (Sink& sink : sinks_) {
    if (!sink.held.empty() && Clock::now() >= sink.open_since + kLongestWait) release(sink);
  }
}

bool RankOutput::empty() const {
  return std::all_of(sinks_.begin(), sinks_.end(),
                     [](const Sink& sink) { return sink.waiting.empty() && sink.held.empty(); });
}

void RankOutput::write(Sink& sink) {
  // A pipe that is ready takes so much without blocking.
  const std::size_t size = std::min<std::size_t>(sink.waiting.size(), PIPE_BUF);
  const ssize_t done = ::write(sink.fd, sink.waiting.data(), size);
  if (done >= 0) {
    sink.waiting.erase(0, static_cast<std::size_t>(done));
  } else if (errno != EINTR && errno != EAGAIN) {
    lost(sink, errno);
  }
}

// A reader that has gone is rank 0's matter; a full disk costs its lines, and a warning.
void RankOutput::lost(Sink& sink, int why) {
  sink.waiting.clear();
  if (why == EPIPE) {
    sink.gone = true;
    sink.open = false;
    sink.held.clear();
    const auto index = static_cast<std::size_t>(&sink - sinks_.data());
    for (Source& source : sources_) {
      if (source.rank != 0 || source.sink != index) continue;
      ::close(source.fd);
      source.fd = -1;
    }
    std::erase_if(sources_, [](const Source& source) { return source.fd < 0; });
  } else if (!sink.warned && sink.fd != STDERR_FILENO) {
    sink.warned = true;
    say(std::string("launch: stdout cannot be written: ") + std::strerror(why) +
        "; the run goes on without it");
  }
}

}  // namespace infinipipe::cli

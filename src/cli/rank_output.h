// What the ranks of `infinipipe launch` write, brought to our stdout and stderr line by line.
#pragma once

#include <poll.h>

#include <array>
#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe::cli {

// Rank 0's bytes pass unchanged and at once, also half a line; each line of another rank gets
// "[rank k] " in front. A line of one rank never lies inside a line of another: while rank 0 is
// within a line the others' wait, but for one second at most, after which they begin a line of
// their own. Where stdout or stderr is a terminal rank 0 writes to it directly, so that it sees a
// terminal; only there a line may meet another in the middle.
//
// Never blocks: what our own reader does not take waits here, and when that is much, so do the
// ranks. A reader that has gone closes rank 0's way too, which then sees it as it would alone.
// Not thread-safe.
class RankOutput final {
 public:
  using Clock = std::chrono::steady_clock;

  RankOutput();
  ~RankOutput();
  RankOutput(const RankOutput&) = delete;
  RankOutput& operator=(const RankOutput&) = delete;

  // What the rank gets as stdout and stderr; -1: ours, inherited. The caller closes each of them
  // once the rank has it (they may be the same one). Closed on exec. Throws RunError.
  std::array<int, 2> open(int rank);
  // The rank has gone: takes what it wrote last, and ends a line that it left open unless it is
  // rank 0's.
  void close(int rank);
  // A line of our own, on stderr.
  void say(std::string_view line);

  // What poll() shall wait for, and until when at most (kNever); then what it found.
  static constexpr Clock::time_point kNever = Clock::time_point::max();
  void wait_for(std::vector<pollfd>& polls) const;
  Clock::time_point deadline() const;
  void handle(std::span<const pollfd> found);
  // Everything was written (or will never be).
  bool empty() const;

 private:
  struct Sink {
    int fd = -1;
    std::string waiting{};
    std::string held{};  // lines of others, while rank 0 is within one
    bool open = false;   // rank 0 is within a line
    Clock::time_point open_since{};
    bool gone = false;
    bool warned = false;
  };
  struct Source {
    int fd = -1;
    int rank = 0;
    std::size_t sink = 0;
    std::string line{};  // begun, not yet ended; rank 0's passes at once
  };

  bool read(Source& source);  // false: nothing more for now, or closed
  void take(Source& source, std::string_view text);
  void put_line(Sink& sink, std::string_view line);
  static void release(Sink& sink);
  void write(Sink& sink);
  void lost(Sink& sink, int why);

  std::vector<Sink> sinks_;               // one where stdout and stderr are the same file
  std::array<std::size_t, 2> sink_of_{};  // of stdout, of stderr
  std::vector<Source> sources_;
};

}  // namespace infinipipe::cli

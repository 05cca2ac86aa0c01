// Threads that encode pieces; results come in the order of the source, with bounded memory.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "data/encode_piece.h"
#include "data/text_source.h"

namespace infinipipe {

// At most `queue_bytes` of text and one piece more are read, encoded, waiting to be taken or held
// by the taker, who is done with a piece when it asks for the next. The source is read by one
// thread at a time. Source and settings must outlive this.
class OrderedEncoder final {
 public:
  OrderedEncoder(TextSource& source, const EncodeSettings& settings, int threads,
                 std::size_t queue_bytes);
  ~OrderedEncoder();  // stops early if not everything was taken
  OrderedEncoder(const OrderedEncoder&) = delete;
  OrderedEncoder& operator=(const OrderedEncoder&) = delete;

  // The next piece's result, empty after the last one. What reading or encoding it threw comes out
  // here, in its turn: the same error whatever the number of threads. One caller.
  std::optional<EncodedPiece> take();

 private:
  struct Result {
    EncodedPiece piece;
    std::exception_ptr error;
    std::size_t charged = 0;  // bytes of text in flight
  };

  void work();
  void read_and_encode();

  TextSource& source_;
  const EncodeSettings& settings_;
  const std::size_t queue_bytes_;

  std::mutex mutex_;
  std::condition_variable room_;   // for workers: something may be read
  std::condition_variable ready_;  // for the taker: a result came
  bool reading_ = false;           // a worker is in source_.next()
  bool source_ended_ = false;
  bool stopped_ = false;
  std::exception_ptr failure_;  // of a worker itself, which has ended
  std::size_t in_flight_bytes_ = 0;
  std::size_t taken_bytes_ = 0;  // of the piece that was taken last
  std::int64_t issued_ = 0;      // pieces read
  std::int64_t taken_ = 0;
  std::map<std::int64_t, Result> results_;  // by number of the piece
  std::vector<std::thread> workers_;
};

}  // namespace infinipipe

#include "data/ordered_encoder.h"

#include <exception>
#include <utility>

namespace infinipipe {
namespace {

// A piece costs memory beyond its text, so that many tiny ones count too.
constexpr std::size_t kPieceOverhead = 512;

}  // namespace

OrderedEncoder::OrderedEncoder(TextSource& source, const EncodeSettings& settings, int threads,
                               std::size_t queue_bytes)
    : source_(source), settings_(settings), queue_bytes_(queue_bytes) {
  try {
    for (int i = 0; i < threads; ++i) workers_.emplace_back([this] { work(); });
  } catch (const std::exception&) {  // no more threads to be had: what there is will do
    if (workers_.empty()) throw;
  }
}

OrderedEncoder::~OrderedEncoder() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  room_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void OrderedEncoder::work() {
  try {
    read_and_encode();
  } catch (...) {  // no memory is left for a result
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    source_ended_ = true;
    room_.notify_all();
    ready_.notify_one();
  }
}

void OrderedEncoder::read_and_encode() {
  std::unique_lock lock(mutex_);
  while (true) {
    room_.wait(lock, [&] {
      return stopped_ || source_ended_ || (!reading_ && in_flight_bytes_ < queue_bytes_);
    });
    if (stopped_ || source_ended_) return;

    reading_ = true;
    lock.unlock();
    Result result;
    std::optional<TextPiece> piece;
    try {
      piece = source_.next();
    } catch (...) {
      result.error = std::current_exception();
    }
    lock.lock();
    reading_ = false;
    if (!piece) source_ended_ = true;
    std::int64_t number = 0;
    if (piece || result.error) {
      number = issued_++;
      result.charged = kPieceOverhead + (piece ? piece->text.size() : 0);
      in_flight_bytes_ += result.charged;
    }
    room_.notify_all();

    if (piece) {
      lock.unlock();
      try {
        result.piece = encode_piece(*piece, settings_);
      } catch (...) {
        result.error = std::current_exception();
      }
      piece.reset();
      lock.lock();
    }
    if (result.charged > 0) results_.emplace(number, std::move(result));
    ready_.notify_one();
  }
}

std::optional<EncodedPiece> OrderedEncoder::take() {
  std::unique_lock lock(mutex_);
  in_flight_bytes_ -= std::exchange(taken_bytes_, 0);
  room_.notify_all();
  ready_.wait(lock, [&] {
    return failure_ || results_.contains(taken_) || (source_ended_ && taken_ == issued_);
  });
  const auto found = results_.find(taken_);
  if (found == results_.end()) {
    if (failure_) std::rethrow_exception(failure_);
    return std::nullopt;
  }
  Result result = std::move(found->second);
  results_.erase(found);
  ++taken_;
  taken_bytes_ = result.charged;
  room_.notify_all();
  lock.unlock();
  if (result.error) std::rethrow_exception(result.error);
  return std::move(result.piece);
}

}  // namespace infinipipe

// The waiting rows of one model and one shape, in the order in which they run: by priority, within
// it the clients in turn, and each client's own rows as they came. A row that has waited `ageing`
// goes before newer ones a priority above it.
//
// Thread-safety: none; the scheduler owns it. Ownership: holds each row from Push() on.
// Time: passed in with the rows.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "server/batching/request.h"

namespace torchd {

// A row that asks for the place of another.
struct Newcomer {
  Priority priority = Priority::kNormal;
  Instant now = Instant::min();
};

class RowQueue {
 public:
  explicit RowQueue(Duration ageing) : ageing_(ageing) {}

  int rows() const { return rows_; }

  // Requires: request->admitted is set and not before that of earlier rows.
  void Push(std::unique_ptr<Request> request);

  // Requires: rows() > 0.
  std::unique_ptr<Request> Pop();

  // How many of those waiting would run before a row of this kind that came now.
  int RowsBefore(Priority priority, uint64_t client) const;

  // Takes out those for which `gone` says so, in no order.
  std::vector<std::unique_ptr<Request>> Remove(const std::function<bool(const Request&)>& gone);

  // When the row that has waited longest, by its priority, was admitted, as if it had the highest.
  Instant Oldest() const;

  // The newest row of a client, at or below a priority; null without one, and where it has waited
  // long enough to go before a newcomer.
  std::unique_ptr<Request> TakeNewest(Priority at_most, uint64_t client,
                                      const Newcomer& newcomer = {});

  // Calls `visit` for each row.
  void ForEach(const std::function<void(const Request&)>& visit) const;

 private:
  struct Client {
    uint64_t id = 0;
    std::deque<std::unique_ptr<Request>> rows;  // Never empty.
  };
  // The clients of one priority; the first is next in turn.
  using Turns = std::list<Client>;

  // Of those at priority `level`; kNever without any.
  Instant OldestAt(int level) const;

  const Duration ageing_;
  int rows_ = 0;
  std::array<Turns, kPriorities> levels_;
};

}  // namespace torchd

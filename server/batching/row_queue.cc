#include "server/batching/row_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace torchd {

void RowQueue::Push(std::unique_ptr<Request> request) {
  Turns& turns = levels_[static_cast<size_t>(request->priority)];
  auto client = std::find_if(turns.begin(), turns.end(),
                             [&](const Client& known) { return known.id == request->client; });
  if (client == turns.end()) {
    turns.emplace_back();
    client = std::prev(turns.end());
    client->id = request->client;
  }
  client->rows.push_back(std::move(request));
  ++rows_;
}

Instant RowQueue::OldestAt(int level) const {
  Instant oldest = kNever;
  for (const Client& client : levels_[static_cast<size_t>(level)]) {
    oldest = std::min(oldest, client.rows.front()->admitted + level * ageing_);
  }
  return oldest;
}

Instant RowQueue::Oldest() const {
  Instant oldest = kNever;
  for (int level = 0; level < kPriorities; ++level) oldest = std::min(oldest, OldestAt(level));
  return oldest;
}

std::unique_ptr<Request> RowQueue::Pop() {
  int next = 0;
  Instant oldest = kNever;
  for (int level = 0; level < kPriorities; ++level) {
    // A level that is empty is never older; a lower one goes first only when it is.
    if (const Instant here = OldestAt(level); here < oldest) {
      oldest = here;
      next = level;
    }
  }
  Turns& turns = levels_[static_cast<size_t>(next)];
  std::unique_ptr<Request> row = std::move(turns.front().rows.front());
  turns.front().rows.pop_front();
  if (turns.front().rows.empty()) {
    turns.pop_front();
  } else {
    turns.splice(turns.end(), turns, turns.begin());
  }
  --rows_;
  return row;
}

int RowQueue::RowsBefore(Priority priority, uint64_t client) const {
  size_t before = 0;
  for (int level = 0; level < static_cast<int>(priority); ++level) {
    for (const Client& one : levels_[static_cast<size_t>(level)]) before += one.rows.size();
  }
  const Turns& turns = levels_[static_cast<size_t>(priority)];
  const auto own = std::find_if(turns.begin(), turns.end(),
                                [&](const Client& known) { return known.id == client; });
  // Those before it in turn go once more than it has rows, itself and those behind as often.
  size_t rounds = own == turns.end() ? 1 : own->rows.size() + 1;
  for (const Client& one : turns) {
    if (one.id == client) --rounds;
    before += std::min(one.rows.size(), rounds);
  }
  return static_cast<int>(before);
}

std::vector<std::unique_ptr<Request>> RowQueue::Remove(
    const std::function<bool(const Request&)>& gone) {
  std::vector<std::unique_ptr<Request>> removed;
  for (Turns& turns : levels_) {
    for (auto client = turns.begin(); client != turns.end();) {
      auto& rows = client->rows;
      for (auto& row : rows) {
        if (gone(*row)) removed.push_back(std::move(row));
      }
      rows.erase(std::remove(rows.begin(), rows.end(), nullptr), rows.end());
      client = rows.empty() ? turns.erase(client) : std::next(client);
    }
  }
  rows_ -= static_cast<int>(removed.size());
  return removed;
}

std::unique_ptr<Request> RowQueue::TakeNewest(Priority at_most, uint64_t client,
                                              const Newcomer& newcomer) {
  for (int level = kPriorities - 1; level >= static_cast<int>(at_most); --level) {
    Turns& turns = levels_[static_cast<size_t>(level)];
    const auto found = std::find_if(turns.begin(), turns.end(),
                                    [&](const Client& known) { return known.id == client; });
    if (found == turns.end()) continue;
    const int below = level - static_cast<int>(newcomer.priority);
    if (below > 0 && found->rows.back()->admitted + below * ageing_ < newcomer.now) continue;
    std::unique_ptr<Request> newest = std::move(found->rows.back());
    found->rows.pop_back();
    if (found->rows.empty()) turns.erase(found);
    --rows_;
    return newest;
  }
  return nullptr;
}

void RowQueue::ForEach(const std::function<void(const Request&)>& visit) const {
  for (const Turns& turns : levels_) {
    for (const Client& client : turns) {
      for (const auto& row : client.rows) visit(*row);
    }
  }
}

}  // namespace torchd

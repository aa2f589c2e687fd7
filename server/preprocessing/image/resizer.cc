#include "server/preprocessing/image/resizer.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "server/preprocessing/image/resample.h"

namespace torchd {
namespace {

// Each row is resized as it comes; what is kept of it is no longer than a line. `Level` holds a
// pixel between the two passes.
template <typename Level>
class ColumnsFirst {
 public:
  using Kept = Level;

  ColumnsFirst(Taps columns, int width)
      : columns_(std::move(columns)), row_samples_(3 * static_cast<size_t>(width)) {}

  size_t kept_samples() const { return line_samples(); }
  size_t line_samples() const { return 3 * columns_.pixels.size(); }
  int64_t Bytes() const { return static_cast<int64_t>(columns_.weights.size() * sizeof(int32_t)); }

  void Keep(const uint8_t* row, Kept* kept) const {
    ResampleRow(row, row + row_samples_, columns_, kept);
  }
  void MakeLine(const std::vector<const Kept*>& rows, const int32_t* weights, uint8_t* line) {
    ResampleColumns(rows, weights, line_samples(), line);
  }

 private:
  const Taps columns_;
  const size_t row_samples_;
};

// Rows are kept as they come, between the first and the last column that is needed.
template <typename Level>
class RowsFirst {
 public:
  using Kept = uint8_t;

  RowsFirst(Taps columns, int width) : columns_(std::move(columns)) {
    int first = width;
    int end = 0;
    for (const Tap& tap : columns_.pixels) {
      first = std::min(first, tap.first);
      end = std::max(end, tap.first + tap.count);
    }
    for (Tap& tap : columns_.pixels) tap.first -= first;
    first_sample_ = 3 * static_cast<size_t>(first);
    row_.resize(3 * static_cast<size_t>(end - first));
  }

  size_t kept_samples() const { return row_.size(); }
  size_t line_samples() const { return 3 * columns_.pixels.size(); }
  int64_t Bytes() const {
    return static_cast<int64_t>(columns_.weights.size() * sizeof(int32_t) +
                                row_.size() * sizeof(Level));
  }

  void Keep(const uint8_t* row, Kept* kept) const {
    std::memcpy(kept, row + first_sample_, row_.size());
  }
  void MakeLine(const std::vector<const Kept*>& rows, const int32_t* weights, uint8_t* line) {
    ResampleColumns(rows, weights, row_.size(), row_.data());
    ResampleRow<Level, uint8_t>(row_.data(), row_.data() + row_.size(), columns_, line);
  }

 private:
  Taps columns_;
  size_t first_sample_ = 0;
  std::vector<Level> row_;
};

template <typename Order>
class WindowResizer final : public Resizer {
 public:
  using Kept = typename Order::Kept;

  explicit WindowResizer(ResizePlan&& plan)
      : order_(std::move(plan.columns), plan.width),
        rows_(std::move(plan.rows)),
        last_line_first_(plan.last_line_first),
        line_(order_.line_samples()) {}

  int64_t Bytes() const override {
    const size_t window = order_.kept_samples() * static_cast<size_t>(rows_.reach) * sizeof(Kept);
    return order_.Bytes() + static_cast<int64_t>(window + rows_.weights.size() * sizeof(int32_t));
  }

  void Take(const uint8_t* row) override {
    const int y = rows_taken_++;
    if (lines_ == rows_.pixels.size()) return;
    // A tap that lost zeros in front is followed by one that starts before it, hence `reach`.
    if (y < End(Next()) - rows_.reach) return;
    if (kept_.empty()) kept_.resize(order_.kept_samples() * static_cast<size_t>(rows_.reach));
    order_.Keep(row, At(y));
  }

  const uint8_t* NextLine() override {
    if (lines_ == rows_.pixels.size() || End(Next()) > rows_taken_) return nullptr;
    const Tap& tap = Next();
    window_.clear();
    for (int i = 0; i < tap.count; ++i) window_.push_back(At(tap.first + i));
    order_.MakeLine(window_, rows_.weights.data() + tap.weights, line_.data());
    ++lines_;
    return line_.data();
  }

  size_t line() const override { return TapOf(lines_ - 1); }

 private:
  static int End(const Tap& tap) { return tap.first + tap.count; }
  size_t TapOf(size_t line) const {
    return last_line_first_ ? rows_.pixels.size() - 1 - line : line;
  }
  const Tap& Next() const { return rows_.pixels[TapOf(lines_)]; }
  Kept* At(int y) {
    return kept_.data() + order_.kept_samples() * static_cast<size_t>(y % rows_.reach);
  }

  Order order_;
  const Taps rows_;
  const bool last_line_first_;
  std::vector<Kept> kept_;  // Row y at place y modulo the number of places.
  int rows_taken_ = 0;
  size_t lines_ = 0;                 // So many have been made.
  std::vector<const Kept*> window_;  // Of the tap at hand.
  std::vector<uint8_t> line_;
};

template <typename Order>
std::unique_ptr<Resizer> Make(ResizePlan&& plan) {
  return std::make_unique<WindowResizer<Order>>(std::move(plan));
}

}  // namespace

std::unique_ptr<Resizer> MakeResizer(ResizePlan plan) {
  if (plan.rows_first) {
    if (plan.clip) return Make<RowsFirst<uint8_t>>(std::move(plan));
    return Make<RowsFirst<int16_t>>(std::move(plan));
  }
  if (plan.clip) return Make<ColumnsFirst<uint8_t>>(std::move(plan));
  return Make<ColumnsFirst<int16_t>>(std::move(plan));
}

}  // namespace torchd

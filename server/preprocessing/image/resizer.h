// The resize itself: a picture's rows, as they are decoded, to lines of the result. It holds as
// many rows as one line needs, so a picture of any size passes through a small window.
//
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "server/preprocessing/image/taps.h"

namespace torchd {

struct ResizePlan {
  Taps columns;   // Over the pixels of a stored row.
  Taps rows;      // Over the stored rows.
  int width = 0;  // Of a stored row.
  // Pillow resizes across first and rounds; across an upright picture is down one stored on its
  // side.
  bool rows_first = false;
  bool last_line_first = false;  // The stored rows come from the bottom of the upright picture.
  bool clip = true;  // To eight bits between the passes, as Pillow does and torch does not.
};

class Resizer {
 public:
  virtual ~Resizer() = default;

  // Bytes that it will hold from the first row on.
  virtual int64_t Bytes() const = 0;

  // The next row of the picture, `width` pixels.
  virtual void Take(const uint8_t* row) = 0;

  // A line that the rows so far make, a pixel for each tap of `columns`; null where there is none
  // left. Good until the next call.
  virtual const uint8_t* NextLine() = 0;

  // Which tap of `rows` the last line was made by.
  virtual size_t line() const = 0;
};

std::unique_ptr<Resizer> MakeResizer(ResizePlan plan);

}  // namespace torchd

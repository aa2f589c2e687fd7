// A number that changes when what was added changes; to notice changes, not to resist an attacker.
//
// Example:
//   Fingerprint fingerprint;
//   fingerprint.Add("model.pt");
//   fingerprint.Add(uint64_t{size});
//   fingerprint.value();
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace torchd {

class Fingerprint {  // FNV-1a, 64 bits.
 public:
  void Add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) AddByte(static_cast<uint8_t>(number >> shift));
  }
  void Add(absl::string_view text) {
    Add(uint64_t{text.size()});  // So that "ab", "c" differs from "a", "bc".
    for (const char c : text) AddByte(static_cast<uint8_t>(c));
  }
  uint64_t value() const { return value_; }

 private:
  void AddByte(uint8_t byte) { value_ = (value_ ^ byte) * 0x100000001b3; }

  uint64_t value_ = 0xcbf29ce484222325;
};

}  // namespace torchd

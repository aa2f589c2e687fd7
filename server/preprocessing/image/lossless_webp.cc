#include "server/preprocessing/image/lossless_webp.h"

#include <algorithm>
#include <array>
#include <vector>

namespace torchd {
namespace {

constexpr int kLengthMax = 15;  // Of a prefix code.
constexpr int kLiterals = 256;
constexpr int kLengthCodes = 24;
constexpr int kDistanceCodes = 40;
constexpr int kCacheBitsMax = 11;

// Bits from the lowest of the first byte on. Zeros behind the end.
class BitReader {
 public:
  explicit BitReader(absl::string_view bytes) : bytes_(bytes) {}

  uint32_t Read(int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; ++i, ++at_) {
      if (at_ / 8 >= bytes_.size()) continue;
      const auto byte = static_cast<unsigned char>(bytes_[at_ / 8]);
      value |= uint32_t{static_cast<uint32_t>(byte) >> (at_ % 8) & 1} << i;
    }
    return value;
  }
  bool Flag() { return Read(1) != 0; }
  bool ended() const { return at_ > 8 * bytes_.size(); }

 private:
  const absl::string_view bytes_;
  size_t at_ = 0;  // In bits.
};

class PrefixCode {
 public:
  // `lengths`: of each symbol's code, 0 where it has none. False where they make no complete code.
  bool Make(const std::vector<uint8_t>& lengths) {
    count_.fill(0);
    symbols_.clear();
    for (int length = 1; length <= kLengthMax; ++length) {
      for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
        if (lengths[symbol] != length) continue;
        symbols_.push_back(static_cast<int>(symbol));
        ++count_[static_cast<size_t>(length)];
      }
    }
    int open = 1;  // Codes that could still begin so.
    for (size_t length = 1; length <= kLengthMax; ++length) {
      open = 2 * open - count_[length];
      if (open < 0) return false;
    }
    return symbols_.size() == 1 || (open == 0 && !symbols_.empty());
  }

  int Read(BitReader& bits) const {
    if (symbols_.size() == 1) return symbols_[0];  // A lone symbol takes no bits.
    int code = 0;
    int first = 0;
    int index = 0;
    for (size_t length = 1; length <= kLengthMax; ++length) {
      code |= static_cast<int>(bits.Read(1));
      if (code - first < count_[length]) {
        return symbols_[static_cast<size_t>(index + code - first)];
      }
      index += count_[length];
      first = 2 * (first + count_[length]);
      code *= 2;
    }
    return 0;  // Complete codes end above.
  }

 private:
  std::array<int, kLengthMax + 1> count_ = {};
  std::vector<int> symbols_;  // By length of code, then by number.
};

bool ReadLengths(BitReader& bits, std::vector<uint8_t>& lengths) {
  constexpr std::array<uint8_t, 19> kOrder = {17, 18, 0, 1,  2,  3,  4,  5,  16, 6,
                                              7,  8,  9, 10, 11, 12, 13, 14, 15};
  std::vector<uint8_t> of_lengths(kOrder.size(), 0);
  const uint32_t given = bits.Read(4) + 4;
  for (uint32_t i = 0; i < given; ++i) of_lengths[kOrder[i]] = static_cast<uint8_t>(bits.Read(3));
  PrefixCode code;
  if (!code.Make(of_lengths)) return false;
  uint32_t most = static_cast<uint32_t>(lengths.size());
  if (bits.Flag()) {
    const int width = 2 + 2 * static_cast<int>(bits.Read(3));
    most = 2 + bits.Read(width);
    if (most > lengths.size()) return false;
  }
  uint8_t previous = 8;
  size_t symbol = 0;
  for (; symbol < lengths.size() && most > 0; --most) {
    const int length = code.Read(bits);
    if (length < 16) {
      lengths[symbol++] = static_cast<uint8_t>(length);
      if (length != 0) previous = static_cast<uint8_t>(length);
      continue;
    }
    const size_t times = length == 16   ? 3 + bits.Read(2)
                         : length == 17 ? 3 + bits.Read(3)
                                        : 11 + bits.Read(7);
    if (times > lengths.size() - symbol) return false;
    for (size_t i = 0; i < times; ++i) lengths[symbol++] = length == 16 ? previous : 0;
  }
  return true;
}

bool ReadCode(BitReader& bits, int symbols, PrefixCode& code) {
  std::vector<uint8_t> lengths(static_cast<size_t>(symbols), 0);
  if (!bits.Flag()) return ReadLengths(bits, lengths) && code.Make(lengths);
  const bool two = bits.Flag();
  const int width = bits.Flag() ? 8 : 1;
  for (const uint32_t symbol : {bits.Read(width), two ? bits.Read(8) : ~0U}) {
    if (symbol == ~0U) continue;
    if (symbol >= lengths.size()) return false;
    lengths[symbol] = 1;
  }
  return code.Make(lengths);
}

// Lengths and distances are coded as the number of bits that follow, and those.
int64_t ReadPrefixed(BitReader& bits, int symbol) {
  if (symbol < 4) return symbol + 1;
  const int more = (symbol - 2) / 2;
  return (int64_t{2 + symbol % 2} << more) + bits.Read(more) + 1;
}

// Which codes a picture's blocks use: the number is the middle two bytes of a pixel. Each is
// written out once at least; all else repeats it.
struct CodesUsed {
  std::vector<bool> seen = std::vector<bool>(size_t{1} << 16);
  int64_t count = 1;  // What is not yet there repeats as zero.
  int64_t most = 0;

  void Add(size_t number) {
    if (!seen[number]) ++count;
    seen[number] = true;
    most = std::max(most, static_cast<int64_t>(number));
  }
  // libwebp leaves out the codes that are not used only where they seem many.
  int64_t Held(int64_t pixels) const {
    return most + 1 > std::min<int64_t>(1000, pixels) ? count : most + 1;
  }
};

// One of the small pictures. `used` may be null.
bool WalkPicture(BitReader& bits, int64_t pixels, CodesUsed* used) {
  int cache = 0;
  if (bits.Flag()) {
    const int width = static_cast<int>(bits.Read(4));
    if (width < 1 || width > kCacheBitsMax) return false;
    cache = 1 << width;
  }
  std::array<PrefixCode, 5> codes;  // Green, red, blue, alpha, distance.
  for (size_t i = 0; i < codes.size(); ++i) {
    const int symbols = i == 0   ? kLiterals + kLengthCodes + cache
                        : i == 4 ? kDistanceCodes
                                 : kLiterals;
    if (!ReadCode(bits, symbols, codes[i])) return false;
  }
  for (int64_t done = 0; done < pixels && !bits.ended();) {
    const int green = codes[0].Read(bits);
    if (green >= kLiterals + kLengthCodes) {
      ++done;
    } else if (green >= kLiterals) {
      done += ReadPrefixed(bits, green - kLiterals);
      ReadPrefixed(bits, codes[4].Read(bits));
    } else {
      const int red = codes[1].Read(bits);
      codes[2].Read(bits);
      codes[3].Read(bits);
      if (used != nullptr) used->Add(static_cast<size_t>(red << 8 | green));
      ++done;
    }
  }
  return !bits.ended();
}

int64_t Blocks(int64_t pixels, int bits) { return (pixels + (int64_t{1} << bits) - 1) >> bits; }

// Walks over the transforms. Returns the pixels of their pictures, or -1. `width` shrinks where
// several pixels are packed into one.
int64_t WalkTransforms(BitReader& bits, int64_t height, int64_t& width) {
  constexpr uint32_t kSubtractGreen = 2;
  constexpr uint32_t kPalette = 3;
  int64_t pixels = 0;
  for (uint32_t seen = 0; bits.Flag();) {
    const uint32_t type = bits.Read(2);
    if ((seen >> type & 1) != 0) return -1;
    seen |= 1U << type;
    if (type == kSubtractGreen) continue;
    int64_t own = 0;
    if (type == kPalette) {
      own = bits.Read(8) + 1;
      width = Blocks(width, own > 16 ? 0 : own > 4 ? 1 : own > 2 ? 2 : 3);
    } else {
      const int size = static_cast<int>(bits.Read(3)) + 2;
      own = Blocks(width, size) * Blocks(height, size);
    }
    if (!WalkPicture(bits, own, nullptr)) return -1;
    pixels += own;
  }
  return pixels;
}

}  // namespace

std::optional<int64_t> LosslessTableBytes(absl::string_view stream, int64_t width, int64_t height) {
  // In libwebp 1.2 to 1.6: entries of four bytes in the tables of a code for `i` bits of cache, and
  // what a code takes beside them.
  constexpr std::array<int64_t, kCacheBitsMax + 1> kGreenEntries = {
      654, 656, 658, 662, 670, 686, 718, 782, 912, 1168, 1680, 2704};
  constexpr int64_t kOtherEntries = 3 * 630 + 410;
  constexpr int64_t kBeside = 600;
  BitReader bits(stream);
  int64_t pixels = WalkTransforms(bits, height, width);
  if (pixels < 0) return std::nullopt;
  size_t cache_bits = 0;
  if (bits.Flag()) {
    cache_bits = bits.Read(4);
    if (cache_bits < 1 || cache_bits > kCacheBitsMax) return std::nullopt;
  }
  int64_t codes = 1;
  if (bits.Flag()) {
    const int size = static_cast<int>(bits.Read(3)) + 2;
    const int64_t own = Blocks(width, size) * Blocks(height, size);
    CodesUsed used;
    if (!WalkPicture(bits, own, &used)) return std::nullopt;
    pixels += own;
    codes = used.Held(width * height);
  }
  if (bits.ended()) return std::nullopt;
  const int64_t cache = cache_bits == 0 ? 0 : int64_t{8} << cache_bits;  // And a copy of it.
  return 4 * pixels + cache + codes * (4 * (kGreenEntries[cache_bits] + kOtherEntries) + kBeside);
}

}  // namespace torchd

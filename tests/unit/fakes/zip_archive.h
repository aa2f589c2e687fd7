// Archives as LibTorch lays them out, without a model inside.
#pragma once

#include <cstdint>
#include <string>

namespace torchd {

// `number` in `count` bytes, lowest first.
inline std::string Bytes(uint64_t number, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += i < 8 ? static_cast<char>(number >> (8 * i)) : 0;
  return bytes;
}

// One stored entry "a" of `size` bytes, as LibTorch lays it out; `comment` follows the end record.
struct Zip {
  std::string entry;      // Local header and contents.
  std::string directory;  // The list of entries.
  std::string end;
};

inline Zip MakeZip(uint64_t size, const std::string& comment = "") {
  const std::string common =
      Bytes(20, 2) + Bytes(0, 12) + Bytes(size, 4) + Bytes(size, 4) + Bytes(1, 2) + Bytes(0, 2);
  Zip zip;
  zip.entry = "PK\3\4" + common + "a" + std::string(size, 'x');
  // Version, the common part, then comment, disk, attributes and the offset of the entry.
  zip.directory = "PK\1\2" + Bytes(20, 2) + common + Bytes(0, 2 + 2 + 2 + 4 + 4) + "a";
  zip.end = "PK\5\6" + Bytes(0, 4) + Bytes(1, 2) + Bytes(1, 2) + Bytes(zip.directory.size(), 4) +
            Bytes(zip.entry.size(), 4) + Bytes(comment.size(), 2) + comment;
  return zip;
}

inline std::string Join(const Zip& zip) { return zip.entry + zip.directory + zip.end; }

// With the 64-bit records that LibTorch always writes.
inline std::string MakeZip64(uint64_t size) {
  const Zip zip = MakeZip(size);
  const std::string end64 = "PK\6\6" + Bytes(44, 8) + Bytes(45, 2) + Bytes(45, 2) + Bytes(0, 8) +
                            Bytes(1, 8) + Bytes(1, 8) + Bytes(zip.directory.size(), 8) +
                            Bytes(zip.entry.size(), 8);
  const std::string locator =
      "PK\6\7" + Bytes(0, 4) + Bytes(zip.entry.size() + zip.directory.size(), 8) + Bytes(1, 4);
  const std::string end =
      "PK\5\6" + Bytes(0, 4) + std::string(12, '\xff') + Bytes(0, 2);  // "See the other."
  return zip.entry + zip.directory + end64 + locator + end;
}

}  // namespace torchd

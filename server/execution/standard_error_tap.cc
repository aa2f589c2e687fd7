#include "server/execution/standard_error_tap.h"

#include <iostream>
#include <streambuf>

namespace torchd {
namespace {

constexpr size_t kHeardBytesMax = 4096;

thread_local std::string* heard = nullptr;

class Tap final : public std::streambuf {
 public:
  explicit Tap(std::streambuf* behind) : behind_(behind) {}

 private:
  int_type overflow(int_type c) override {
    if (heard == nullptr) return behind_->sputc(traits_type::to_char_type(c));
    if (heard->size() < kHeardBytesMax) heard->push_back(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }

  std::streamsize xsputn(const char* text, std::streamsize size) override {
    if (heard == nullptr) return behind_->sputn(text, size);
    if (heard->size() < kHeardBytesMax) heard->append(text, static_cast<size_t>(size));
    return size;
  }

  int sync() override { return heard == nullptr ? behind_->pubsync() : 0; }

  std::streambuf* const behind_;
};

}  // namespace

void InstallStandardErrorTap() {
  // Never destroyed: static destructors print, too. A second call finds it there.
  static const Tap* const tap = [] {
    auto* made = new Tap(std::cerr.rdbuf());
    std::cerr.rdbuf(made);
    return made;
  }();
  static_cast<void>(tap);
}

HeardErrors::HeardErrors() { heard = &text_; }

HeardErrors::~HeardErrors() { heard = nullptr; }

std::string HeardErrors::Reason() const {
  std::string line = text_.substr(0, text_.find('\n'));
  if (line.rfind("Error: ", 0) == 0) line.erase(0, 7);
  return line;
}

}  // namespace torchd

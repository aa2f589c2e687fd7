// Text to words: Hugging Face's BertNormalizer and BertPreTokenizer as one pass.
//
// Thread-safety: functions without state.
#pragma once

#include <optional>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace torchd {

// Longer words are unknown as a whole; the original BERT's limit, in characters.
inline constexpr int kWordCharactersMax = 100;

// An empty optional is a word beyond kWordCharactersMax. False: no more are wanted.
using OnWord = absl::FunctionRef<bool(std::optional<std::string_view> word)>;

// Tells the words in their order; false as soon as `on_word` has said it. Takes time linear in the
// text's length, and memory for a word, but for long runs of combining marks.
// Requires: `text` is UTF-8.
bool SplitWords(absl::string_view text, bool lowercase, OnWord on_word);

}  // namespace torchd

// Text to word-piece ids, identical to Hugging Face's BertTokenizer (tokenizers 0.22).
//
// Identical includes two things that surprise:
// - A special token that a client types, such as "[SEP]", becomes that token's own id, in exactly
//   this spelling ("[sep]" is three words). So it can only blur the client's own request.
//   [MASK] counts among them when the vocabulary has it; without it, it is ordinary text.
// - Punctuation, controls and accents are those of Unicode 8, whichever ICU is installed.
//
// Example:
//   TORCHD_ASSIGN_OR_RETURN(WordPiece tokenizer, WordPiece::FromVocabulary(vocabulary, options));
//   TORCHD_ASSIGN_OR_RETURN(std::vector<int64_t> ids, tokenizer.Encode("A cat."));  // [CLS]..[SEP]
//
// Thread-safety: const methods from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace torchd {

class WordPiece {
 public:
  struct Options {
    bool lowercase = true;  // Lower case, accents stripped.
    int tokens_max = 512;   // [CLS] and [SEP] included; what is beyond is cut. At least 2.
  };

  // `vocabulary`: the contents of vocab.txt, one piece a line, the line number from 0 being its id;
  // of a piece that stands there twice, the later. Line ends may be CRLF.
  // INVALID_ARGUMENT when [CLS], [SEP], [UNK] or [PAD] is missing, a line is not UTF-8, or
  // `options.tokens_max` is less than 2.
  static absl::StatusOr<WordPiece> FromVocabulary(absl::string_view vocabulary, Options options);

  // `tokenizer`: the contents of tokenizer.json. What of it no BERT model has is refused: another
  // kind of model, normalizer or special token. It says whether to lower case, unless `lowercase`
  // does.
  static absl::StatusOr<WordPiece> FromTokenizerJson(const std::string& tokenizer,
                                                     std::optional<bool> lowercase, int tokens_max);

  // INVALID_ARGUMENT for what is not UTF-8. Takes time linear in the text's length, and memory for
  // the ids alone, but for long runs of combining marks.
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view text) const;

  struct Pair {
    std::vector<int64_t> ids;  // [CLS] first [SEP] second [SEP]
    size_t second = 0;         // Where the second text begins.
  };
  // Of what is beyond tokens_max, the longer text loses its end first; of two equally long, both
  // lose as much, the first an odd token more. INVALID_ARGUMENT as Encode().
  absl::StatusOr<Pair> EncodePair(absl::string_view first, absl::string_view second) const;

  int64_t padding() const { return padding_; }
  bool lowercase() const { return options_.lowercase; }

 private:
  struct Hash {  // Lets a look-up take a view into the text.
    using is_transparent = void;
    size_t operator()(std::string_view piece) const { return std::hash<std::string_view>()(piece); }
  };
  using Pieces = std::unordered_map<std::string, int64_t, Hash, std::equal_to<>>;

  static constexpr const char* kSpecialTokens[] = {"[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"};
  static constexpr int64_t kIdMax = 0x7FFFFFFF;  // A model's ids may be int32.

  WordPiece() = default;

  absl::Status AddLines(absl::string_view vocabulary);
  void AddPiece(absl::string_view piece, int64_t id);
  static absl::Status CheckTokensMax(int tokens_max);
  absl::Status FindSpecials();
  // Word by word, or a special token; false ends it.
  using OnIds = absl::FunctionRef<bool(absl::Span<const int64_t> ids)>;

  // These are without [CLS] and [SEP]. Requires: UTF-8.
  std::vector<int64_t> FirstIds(absl::string_view text, size_t ids_max) const;
  size_t CountIds(absl::string_view text) const;
  void ForEachWord(absl::string_view text, OnIds on_ids) const;
  bool EncodeOrdinary(absl::string_view text, OnIds on_ids) const;
  void AppendPieces(std::string_view word, std::vector<int64_t>& ids) const;

  Options options_;
  Pieces first_pieces_;  // What may begin a word.
  Pieces later_pieces_;  // What may continue one, without its "##".
  size_t piece_bytes_max_ = 0;
  std::vector<std::pair<std::string, int64_t>> specials_;  // Taken out of the text as they stand.
  int64_t cls_ = 0;
  int64_t sep_ = 0;
  int64_t unknown_ = 0;
  int64_t padding_ = 0;
};

}  // namespace torchd

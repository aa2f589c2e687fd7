// tokenizer.json as Hugging Face's tokenizers write it for BERT models. Whatever it asks for beyond
// that is refused: ids that are nearly right give answers that are nearly right.
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/text/word_piece.h"

namespace torchd {
namespace {

using Json = nlohmann::json;

// What stands at a path of keys; null where there is nothing.
const Json& At(const Json& json, std::initializer_list<const char*> path) {
  static const Json* const nothing = new Json();
  const Json* at = &json;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return *nothing;
    at = &(*at)[key];
  }
  return *at;
}

absl::Status Wrong(absl::string_view path, const Json& got, absl::string_view expected) {
  const std::string shown = got.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 64);
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer.json: ", path, " is ", shown, ", expected ", expected));
}

absl::Status CheckIs(absl::string_view path, const Json& got, const Json& expected) {
  return got == expected ? absl::OkStatus() : Wrong(path, got, expected.dump());
}

// True and false say the same of accents as of case in all of Google's models; null: as of case.
absl::StatusOr<bool> ReadLowercase(const Json& normalizer) {
  TORCHD_RETURN_IF_ERROR(CheckIs("normalizer.type", At(normalizer, {"type"}), "BertNormalizer"));
  TORCHD_RETURN_IF_ERROR(CheckIs("normalizer.clean_text", At(normalizer, {"clean_text"}), true));
  TORCHD_RETURN_IF_ERROR(
      CheckIs("normalizer.handle_chinese_chars", At(normalizer, {"handle_chinese_chars"}), true));
  const Json& lowercase = At(normalizer, {"lowercase"});
  if (!lowercase.is_boolean()) return Wrong("normalizer.lowercase", lowercase, "true or false");
  const Json& accents = At(normalizer, {"strip_accents"});
  if (!accents.is_null() && accents != lowercase) {
    return Wrong("normalizer.strip_accents", accents, "null, or what lowercase is");
  }
  return lowercase.get<bool>();
}

absl::Status CheckModel(const Json& json) {
  TORCHD_RETURN_IF_ERROR(CheckIs("model.type", At(json, {"model", "type"}), "WordPiece"));
  TORCHD_RETURN_IF_ERROR(CheckIs("model.unk_token", At(json, {"model", "unk_token"}), "[UNK]"));
  TORCHD_RETURN_IF_ERROR(CheckIs("model.continuing_subword_prefix",
                                 At(json, {"model", "continuing_subword_prefix"}), "##"));
  TORCHD_RETURN_IF_ERROR(CheckIs("model.max_input_chars_per_word",
                                 At(json, {"model", "max_input_chars_per_word"}), 100));
  TORCHD_RETURN_IF_ERROR(
      CheckIs("pre_tokenizer.type", At(json, {"pre_tokenizer", "type"}), "BertPreTokenizer"));
  if (At(json, {"model", "vocab"}).is_object()) return absl::OkStatus();
  return Wrong("model.vocab", At(json, {"model", "vocab"}), "a mapping of pieces to ids");
}

absl::Status CheckAdded(const Json& added, absl::Span<const char* const> specials) {
  for (const Json& token : added) {
    const Json& content = At(token, {"content"});
    if (std::none_of(specials.begin(), specials.end(),
                     [&](const char* special) { return content == special; })) {
      return Wrong("added_tokens", content, "the special tokens of BERT alone");
    }
    for (const char* flag : {"lstrip", "rstrip", "single_word", "normalized"}) {
      const Json& value = At(token, {flag});
      if (value == true) return Wrong(absl::StrCat("added_tokens: ", flag), value, "false");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WordPiece> WordPiece::FromTokenizerJson(const std::string& tokenizer,
                                                       std::optional<bool> lowercase,
                                                       int tokens_max) {
  TORCHD_RETURN_IF_ERROR(CheckTokensMax(tokens_max));
  const Json json = Json::parse(tokenizer, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("tokenizer.json is no JSON object");
  TORCHD_RETURN_IF_ERROR(CheckModel(json));
  TORCHD_RETURN_IF_ERROR(CheckAdded(At(json, {"added_tokens"}), kSpecialTokens));
  TORCHD_ASSIGN_OR_RETURN(const bool says, ReadLowercase(At(json, {"normalizer"})));
  WordPiece word_piece;
  word_piece.options_ = {lowercase.value_or(says), tokens_max};
  for (const auto& item : At(json, {"model", "vocab"}).items()) {
    if (!item.value().is_number_unsigned() || item.value().get<uint64_t>() > uint64_t{kIdMax}) {
      return Wrong("model.vocab: an id", item.value(), absl::StrCat("0 to ", kIdMax));
    }
    word_piece.AddPiece(item.key(), item.value().get<int64_t>());
  }
  TORCHD_RETURN_IF_ERROR(word_piece.FindSpecials());
  return word_piece;
}

}  // namespace torchd

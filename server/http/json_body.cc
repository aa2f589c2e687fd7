#include "server/http/json_body.h"

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"
#include "server/http/json_tensor.h"

namespace torchd {
namespace {

constexpr size_t kTensorsMax = kItemsMax;  // In an item.
constexpr size_t kSizesMax = kDimensionsMax + 1;

ClassifyItem ImageOrStatus(const std::string& base64, ClassifyBody& body) {
  std::string bytes;
  if (absl::Base64Unescape(base64, &bytes)) return ImageItem{body.Own(std::move(bytes))};
  if (absl::StartsWith(base64, "data:")) {
    return absl::InvalidArgumentError(
        "image: got a data: URL, expected the base64 alone, which stands after its comma");
  }
  return absl::InvalidArgumentError("image: it is no base64");
}

// What nlohmann's reader calls, value by value; false ends the reading, with `status()`.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(const BodyLimits& limits, ClassifyBody& result)
      : bytes_left_(limits.tensor_bytes_max), result_(result) {}

  const absl::Status& status() const { return status_; }

  bool null() override { return Value(ValueKind::kNull, "null"); }
  bool boolean(bool value) override { return Value(ValueKind::kBoolean, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Integer(value); }
  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    return value <= kMost ? Integer(static_cast<int64_t>(value))
                          : Number(static_cast<double>(value), absl::StrCat(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return Number(value, text);
  }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Fail("binary values are none of JSON's"); }
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override;

 private:
  enum class Place { kTop, kRoot, kItems, kItem, kTensors, kTensor, kShape, kData };
  struct Item {
    std::optional<std::string> image, text, text_pair;
    std::optional<TensorItem> tensors;
    absl::Status status;  // Of one of its tensors.
  };

  Place place() const { return places_.back(); }
  bool Fail(const std::string& why) { return Keep(absl::InvalidArgumentError(why)); }
  bool Keep(absl::Status status) {
    status_ = std::move(status);
    return status_.ok();
  }
  // The value is of another type than the key asks for.
  bool Unexpected(absl::string_view got);
  bool Integer(int64_t value);
  bool Number(double value, const std::string& text);
  bool Value(ValueKind kind, absl::string_view text);
  bool TextOf(std::optional<std::string>& field, string_t& value);
  bool FinishItem();
  bool FinishTensor();

  int64_t bytes_left_;
  ClassifyBody& result_;
  absl::Status status_;
  std::vector<Place> places_{Place::kTop};
  std::vector<std::string> keys_;  // That were given, of the objects that are open.
  std::vector<size_t> keys_begin_;
  std::string key_;
  std::optional<Item> item_;
  bool listed_ = false;  // The items came as "items".
  std::optional<JsonTensor> tensor_;
};

bool Reader::Unexpected(absl::string_view got) {
  switch (place()) {
    case Place::kTop:
      return Fail(absl::StrCat("the body: got ", got, ", expected an object"));
    case Place::kItems:
      return Fail(absl::StrCat("items: got ", got, ", expected objects"));
    case Place::kTensors:
      return Fail(absl::StrCat("tensors: got ", got, ", expected objects"));
    case Place::kShape:
      return Fail(absl::StrCat("shape: got ", got, ", expected integers of 0 or above"));
    case Place::kData:
      return Fail(absl::StrCat("data: got ", got, ", expected numbers or lists of them"));
    default:
      return Fail(absl::StrCat("key ", QuotedWord(key_), " is unknown here, or its value, ", got,
                               ", is of the wrong type"));
  }
}

bool Reader::Integer(int64_t value) {
  if (place() == Place::kData) return Keep(tensor_->AddInteger(value));
  if (place() == Place::kShape && value >= 0) {
    if (tensor_->shape->size() == kSizesMax) {
      return Fail(absl::StrCat("shape: it has more than ", kSizesMax, " sizes"));
    }
    tensor_->shape->push_back(value);
    return true;
  }
  return Value(ValueKind::kInteger, absl::StrCat(value));
}

bool Reader::Number(double value, const std::string& text) {
  if (place() == Place::kData) return Keep(tensor_->AddNumber(value));
  return Value(ValueKind::kNumber, text);
}

bool Reader::Value(ValueKind kind, absl::string_view text) {
  if (place() != Place::kRoot || !IsOption(key_)) return Unexpected(QuotedWord(text));
  return Keep(SetOption(key_, kind, text, result_.options));
}

bool Reader::TextOf(std::optional<std::string>& field, string_t& value) {
  field = std::move(value);
  return true;
}

bool Reader::string(string_t& value) {
  if (place() == Place::kRoot && IsOption(key_)) return Value(ValueKind::kString, value);
  if (place() == Place::kRoot || place() == Place::kItem) {
    if (key_ != "image" && key_ != "text" && key_ != "text_pair") return Unexpected("a string");
    if (!item_) item_.emplace();
    return TextOf(key_ == "image"  ? item_->image
                  : key_ == "text" ? item_->text
                                   : item_->text_pair,
                  value);
  }
  if (place() == Place::kTensor) {
    if (key_ == "name") return TextOf(tensor_->name, value);
    if (key_ == "data_type" && DataTypeByName(value)) return TextOf(tensor_->data_type, value);
    if (key_ == "data_type") {
      return Fail(absl::StrCat("data_type: got ", QuotedWord(value),
                               ", expected one of uint8, int32, int64, float32"));
    }
    if (key_ == "base64") return TextOf(tensor_->base64, value);
  }
  return Unexpected("a string");
}

bool Reader::start_object(size_t) {
  keys_begin_.push_back(keys_.size());
  switch (place()) {
    case Place::kTop:
      places_.push_back(Place::kRoot);
      return true;
    case Place::kItems:
      if (result_.items.size() == static_cast<size_t>(kItemsMax)) {
        return Fail(
            absl::StrCat("items: got more than ", kItemsMax, ", expected 1 to ", kItemsMax));
      }
      item_.emplace();
      places_.push_back(Place::kItem);
      return true;
    case Place::kTensors:
      if (item_->tensors->size() == kTensorsMax) {
        return Fail(absl::StrCat("tensors: got more than ", kTensorsMax, " in an item"));
      }
      tensor_.emplace(&bytes_left_);
      places_.push_back(Place::kTensor);
      return true;
    default:
      return Unexpected("an object");
  }
}

bool Reader::key(string_t& name) {
  for (size_t i = keys_begin_.back(); i < keys_.size(); ++i) {
    if (keys_[i] == name) return Fail(absl::StrCat("key ", QuotedWord(name), " is given twice"));
  }
  // Few are known, and the first unknown one ends the reading: this list stays short.
  keys_.push_back(name);
  key_ = std::move(name);
  return true;
}

bool Reader::end_object() {
  keys_.resize(keys_begin_.back());
  keys_begin_.pop_back();
  const Place ended = place();
  places_.pop_back();
  if (ended == Place::kTensor) return FinishTensor();
  if (ended == Place::kItem) return FinishItem();
  if (ended == Place::kRoot && item_) {
    if (listed_) return Fail("the body has items, and an item beside them");
    return FinishItem();
  }
  return true;
}

bool Reader::start_array(size_t) {
  const bool in_item = place() == Place::kItem || place() == Place::kRoot;
  if (place() == Place::kRoot && key_ == "items") {
    if (item_) return Fail("the body has items, and an item beside them");
    listed_ = true;
    places_.push_back(Place::kItems);
    return true;
  }
  if (in_item && key_ == "tensors") {
    if (!item_) item_.emplace();
    item_->tensors.emplace();
    places_.push_back(Place::kTensors);
    return true;
  }
  if (place() == Place::kTensor && key_ == "shape") {
    tensor_->shape.emplace();
    places_.push_back(Place::kShape);
    return true;
  }
  if (place() == Place::kTensor && key_ == "data") places_.push_back(Place::kData);
  return place() == Place::kData ? Keep(tensor_->OpenList()) : Unexpected("a list");
}

bool Reader::end_array() {
  if (place() == Place::kData) {
    tensor_->CloseList();
    if (tensor_->depth() > 0) return true;
  }
  places_.pop_back();
  return true;
}

bool Reader::FinishTensor() {
  absl::StatusOr<NamedTensor> made = tensor_->Finish(result_);
  tensor_.reset();
  if (!made.ok()) {
    item_->status = made.status();
    return true;
  }
  item_->tensors->push_back(*std::move(made));
  return true;
}

bool Reader::FinishItem() {
  Item item = *std::move(item_);
  item_.reset();
  const int kinds = item.image.has_value() + item.text.has_value() + item.tensors.has_value();
  if (kinds != 1) {
    return Fail(absl::StrCat("an item has ", kinds == 0 ? "no input" : "several inputs",
                             "; expected one of tensors, image or text"));
  }
  if (item.text_pair && !item.text) {
    return Fail("text_pair: an item has one, and no text; expected the first text under text");
  }
  if (item.tensors && item.tensors->empty() && item.status.ok()) {
    return Fail("tensors: got none, expected one for each input of the model");
  }
  if (!item.status.ok()) {
    result_.items.emplace_back(item.status);
  } else if (item.tensors) {
    result_.items.emplace_back(*std::move(item.tensors));
  } else if (item.text) {
    std::optional<absl::string_view> pair;
    if (item.text_pair) pair = result_.Own(*std::move(item.text_pair));
    result_.items.push_back(TextOrStatus(result_.Own(*std::move(item.text)), pair));
  } else {
    result_.items.push_back(ImageOrStatus(*item.image, result_));
  }
  return true;
}

bool Reader::parse_error(size_t position, const std::string&,
                         const nlohmann::detail::exception& error) {
  // Their text quotes the body, which may be anything.
  constexpr int kOutOfRange = 406;
  return Fail(error.id == kOutOfRange ? absl::StrCat("the body holds a number at byte ", position,
                                                     " that is larger than any of 64 bits")
                                      : absl::StrCat("the body is no JSON: at byte ", position));
}

}  // namespace

absl::Status ReadJsonBody(absl::string_view body, const BodyLimits& limits, ClassifyBody& result) {
  Reader reader(limits, result);
  nlohmann::json::sax_parse(body.begin(), body.end(), &reader);
  return reader.status();
}

}  // namespace torchd

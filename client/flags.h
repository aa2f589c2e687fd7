// torchctl's commands and flags as tables: what the parser takes and the completions offer.
//
// Thread-safety: functions without state.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/arguments.h"

namespace torchd {

// Where a flag may stand.
inline constexpr unsigned kBeforeCommand = 1;
inline constexpr unsigned kInClassify = 2;
inline constexpr unsigned kInModels = 4;
inline constexpr unsigned kInStatus = 8;
inline constexpr unsigned kInChange = 16;  // load, unload, reload
inline constexpr unsigned kInPlan = 32;
inline constexpr unsigned kInBench = 64;
inline constexpr unsigned kInExplain = 128;
inline constexpr unsigned kInCompletion =
    256;  // Asks no server, so most flags have no place there.
inline constexpr unsigned kInCommands =
    kInClassify | kInBench | kInModels | kInPlan | kInStatus | kInChange | kInExplain;
inline constexpr unsigned kAnywhere = kBeforeCommand | kInCommands;

// What comes after a flag, and what a completion offers there.
enum class Value { kNone, kAny, kModel, kPriority, kActivation, kPlan };

struct Flag {
  const char* name;
  unsigned places;
  Value value;
  // INVALID_ARGUMENT names the flag, the value and what was expected.
  absl::Status (*set)(const std::string& value, Arguments& arguments);
};

// What a command takes beside flags.
enum class Takes { kNothing, kModel, kFiles, kShell };

struct CommandName {
  const char* name;
  Command command;
  unsigned place;
  Takes takes;
  const char* about;
};

// A name may stand there more than once, for different places.
absl::Span<const Flag> Flags();
absl::Span<const CommandName> Commands();

// "classify, bench or models": all of them.
std::string CommandNames();

// nullptr where there is none.
const CommandName* FindCommand(absl::string_view name);
const Flag* FindFlag(absl::string_view name, unsigned place);

// INVALID_ARGUMENT: "--top-k is 'two'; expected a whole number".
absl::Status Wrong(absl::string_view flag, absl::string_view value, absl::string_view expected);
absl::Status SetAddress(const std::string& value, Arguments& arguments);

}  // namespace torchd

// Early return of an error, for functions that return absl::Status or absl::StatusOr.
//
// Example:
//   TORCHD_RETURN_IF_ERROR(CheckName(name));
//   TORCHD_ASSIGN_OR_RETURN(Image image, DecodeImage(bytes));
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define TORCHD_RETURN_IF_ERROR(expression)         \
  do {                                             \
    absl::Status torchd_status = (expression);     \
    if (!torchd_status.ok()) return torchd_status; \
  } while (false)

#define TORCHD_JOIN_INNER(a, b) a##b
#define TORCHD_JOIN(a, b) TORCHD_JOIN_INNER(a, b)
#define TORCHD_ASSIGN_OR_RETURN(target, expression) \
  TORCHD_ASSIGN_OR_RETURN_INNER(TORCHD_JOIN(torchd_or_, __LINE__), target, expression)
// NOLINTBEGIN(bugprone-macro-parentheses): `target` may be a declaration.
#define TORCHD_ASSIGN_OR_RETURN_INNER(result, target, expression) \
  auto result = (expression);                                     \
  if (!(result).ok()) return std::move(result).status();          \
  target = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)

// The only `try` around LibTorch: its exceptions become statuses.
#pragma once

#include <c10/util/Exception.h>

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace torchd {

// The line that says what went wrong, without LibTorch's traceback or paths of source files.
std::string Cause(const std::string& what);

// A device whose driver has failed answers nothing more until the process starts anew.
inline std::atomic<bool> g_device_poisoned{false};

// Runs `body`. Out of memory: RESOURCE_EXHAUSTED; any other exception: INTERNAL, with `doing` in
// front.
template <typename Body>
auto CatchTorch(absl::string_view doing, Body&& body)
    -> absl::StatusOr<std::invoke_result_t<Body>> {
  try {
    return std::forward<Body>(body)();
  } catch (const c10::OutOfMemoryError&) {
    return absl::ResourceExhaustedError(absl::StrCat(doing, ": out of memory"));
  } catch (const c10::AcceleratorError& error) {
    g_device_poisoned = true;
    return absl::InternalError(
        absl::StrCat(doing, ": the device failed: ", Cause(error.what_without_backtrace())));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(doing, ": out of memory"));
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", Cause(error.what_without_backtrace())));
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(doing, ": ", Cause(error.what())));
  }
}

}  // namespace torchd

// The contract of the REST interface, server/http/openapi.json, as the build put it into the
// program.
#pragma once

namespace torchd {

extern const char* const kOpenApi;

}  // namespace torchd

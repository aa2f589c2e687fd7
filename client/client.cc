#include "client/include/torchd/client.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/convert.h"
#include "client/health_watch.h"
#include "client/wire_client.h"

namespace torchd {
namespace {

absl::Status CannotRead(const std::string& path, int error) {
  return {absl::ErrnoToStatusCode(error),
          absl::StrCat("cannot read ", path, ": ", std::strerror(error))};
}

// Translates; the wire client does the rest.
class TranslatingClient : public Client {
 public:
  explicit TranslatingClient(std::unique_ptr<WireClient> wire) : wire_(std::move(wire)) {}

  absl::StatusOr<Classification> Classify(const std::vector<Item>& items,
                                          const ClassifyOptions& options) override {
    absl::StatusOr<v1::ClassifyResponse> response =
        wire_->Classify(ToWire(items, options), options.timeout);
    if (!response.ok()) return response.status();
    if (response->results_size() != static_cast<int>(items.size())) {
      return absl::InternalError(absl::StrCat("the server sent ", response->results_size(),
                                              " results for ", items.size(), " items"));
    }
    return FromWire(*response);
  }

  absl::StatusOr<std::vector<ModelInfo>> ListModels(const std::string& model,
                                                    std::chrono::milliseconds timeout) override {
    v1::ListModelsRequest request;
    request.set_model(model);
    absl::StatusOr<v1::ListModelsResponse> response = wire_->ListModels(request, timeout);
    if (!response.ok()) return response.status();
    std::vector<ModelInfo> models;
    for (const v1::ModelVersion& version : response->models()) {
      models.push_back(FromWire(version));
    }
    return models;
  }

  std::unique_ptr<HealthWatch> WatchHealth(const std::string& service,
                                           std::function<void(Health)> changed) override {
    return WatchHealthOver(wire_->channel(), service, std::move(changed));
  }

 private:
  const std::unique_ptr<WireClient> wire_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  absl::StatusOr<std::unique_ptr<WireClient>> wire = WireClient::Connect(options);
  if (!wire.ok()) return wire.status();
  return std::make_unique<TranslatingClient>(*std::move(wire));
}

Tensor FloatTensor(std::vector<int64_t> shape, const std::vector<float>& values, std::string name) {
  Tensor tensor{std::move(name), DataType::kFloat32, std::move(shape), {}};
  tensor.data.resize(values.size() * sizeof(float));
  if (!values.empty()) std::memcpy(tensor.data.data(), values.data(), tensor.data.size());
  return tensor;
}

absl::StatusOr<Image> ReadImage(const std::string& path) {
  Image image;
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return CannotRead(path, errno);
  char chunk[1 << 16];
  size_t got = 0;
  while ((got = std::fread(chunk, 1, sizeof chunk, file)) > 0) image.bytes.append(chunk, got);
  // A folder opens, and then says EISDIR when it is read.
  const int error = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (error != 0) return CannotRead(path, error);
  return image;
}

}  // namespace torchd

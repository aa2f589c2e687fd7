// What the client library does, in one program: `example HOST:PORT[,HOST:PORT...] PHOTO`.
// client/README.md quotes it; the tests build it against an installed package and run it.
#include <torchd/client.h>

#include <chrono>
#include <cstdio>
#include <future>
#include <iostream>
#include <sstream>
#include <string>

namespace {

using std::chrono::seconds;

// [connect]
absl::StatusOr<std::unique_ptr<torchd::Client>> Connect(const std::string& addresses) {
  torchd::ClientOptions options;
  options.addresses.clear();
  std::istringstream list(addresses);
  for (std::string one; std::getline(list, one, ',');) options.addresses.push_back(one);
  options.attempts_max = 5;         // Refusals that may pass are tried again.
  options.client_name = "example";  // Shares its turn with nobody else.
  return torchd::Client::Connect(options);
}
// [connect]

// [health]
// Whether the server, or one of them, says that it is SERVING within the time.
bool WaitUntilServing(torchd::Client& client, seconds limit) {
  std::promise<void> serving;
  bool told = false;  // Of the watch's thread alone.
  const auto watch = client.WatchHealth("", [&](torchd::Health health) {
    if (health == torchd::Health::kServing && !told) serving.set_value();
    told = told || health == torchd::Health::kServing;
  });
  return serving.get_future().wait_for(limit) == std::future_status::ready;
}
// [health]

// [classify]
absl::Status ClassifyPhoto(torchd::Client& client, const std::string& path) {
  absl::StatusOr<torchd::Image> photo = torchd::ReadImage(path);
  if (!photo.ok()) return photo.status();
  torchd::ClassifyOptions options;
  options.model = "efficientnet-lite0";
  options.top_k = 3;
  options.timeout = seconds(10);
  absl::StatusOr<torchd::Classification> answer =
      client.Classify({*photo, torchd::Image{"no image"}}, options);
  if (!answer.ok()) return answer.status();
  for (const torchd::ItemAnswer& item : answer->items) {
    if (!item.status.ok()) std::cout << "failed: " << item.status.message() << "\n";
    for (const torchd::Class& one : item.classes) {
      std::printf("%2.0f %% %s\n", one.probability * 100.0, one.label.c_str());
    }
  }
  return absl::OkStatus();
}
// [classify]

// [models]
absl::Status ShowModels(torchd::Client& client) {
  absl::StatusOr<std::vector<torchd::ModelInfo>> models = client.ListModels("", seconds(10));
  if (!models.ok()) return models.status();
  for (const torchd::ModelInfo& model : *models) {
    std::cout << model.name << " " << model.version << " " << model.state;
    if (model.image) std::cout << ", images cut to " << model.image->crop;
    std::cout << "\n";
  }
  return absl::OkStatus();
}
// [models]

absl::Status Run(const std::string& addresses, const std::string& photo) {
  absl::StatusOr<std::unique_ptr<torchd::Client>> client = Connect(addresses);
  if (!client.ok()) return client.status();
  if (!WaitUntilServing(**client, seconds(30))) return absl::UnavailableError("not serving");
  absl::Status shown = ShowModels(**client);
  return shown.ok() ? ClassifyPhoto(**client, photo) : shown;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: example HOST:PORT[,HOST:PORT...] PHOTO\n";
    return 2;
  }
  const absl::Status status = Run(argv[1], argv[2]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : torchd::IsUnreachable(status) ? 3 : 1;
}

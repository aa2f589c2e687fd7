// Networks on pictures of 4 x 4 pixels, for tests.
#pragma once

#include <utility>
#include <vector>

#include "server/direct/network.h"

namespace torchd {

class NetworkMaker {
 public:
  explicit NetworkMaker(int64_t rows = 1) : rows_(rows) {}

  size_t Input(int64_t channels) {
    network_.inputs.push_back(network_.nodes.size());
    return Put({.kind = Node::Kind::kInput, .dims = {rows_, channels, 4, 4}});
  }

  size_t Convolution(size_t from, int64_t channels, float weight = 1, float bias = 0) {
    Node node = {.kind = Node::Kind::kConvolution, .inputs = {from}};
    node.dims = {rows_, channels, 4, 4};
    const int64_t in = network_.nodes[from].dims[1];
    node.weights = Own(std::vector<float>(static_cast<size_t>(in * channels), weight));
    node.bias = Own(std::vector<float>(static_cast<size_t>(channels), bias));
    return Put(std::move(node));
  }

  size_t Affine(size_t from, float scale, float shift) {
    Node node = Like(from, Node::Kind::kAffine);
    node.weights = Own(std::vector<float>(static_cast<size_t>(node.dims[1]), scale));
    node.bias = Own(std::vector<float>(static_cast<size_t>(node.dims[1]), shift));
    return Put(std::move(node));
  }

  size_t Relu(size_t from) {
    Node node = Like(from, Node::Kind::kActivation);
    node.activation.kind = Activation::Kind::kRelu;
    return Put(std::move(node));
  }

  size_t Add(size_t first, size_t second) {
    Node node = Like(first, Node::Kind::kAdd);
    node.inputs.push_back(second);
    return Put(std::move(node));
  }

  size_t Channels(std::vector<size_t> inputs, std::vector<Channel> channels) {
    Node node = Like(inputs[0], Node::Kind::kChannels);
    node.dims[1] = static_cast<int64_t>(channels.size());
    node.inputs = std::move(inputs);
    node.channels = std::move(channels);
    return Put(std::move(node));
  }

  // All channels of all.
  size_t Join(const std::vector<size_t>& inputs) {
    std::vector<Channel> channels;
    for (size_t i = 0; i < inputs.size(); ++i) {
      for (int64_t at = 0; at < ChannelsOf(inputs[i]); ++at) channels.push_back({i, at});
    }
    return Channels(inputs, std::move(channels));
  }

  int64_t ChannelsOf(size_t i) const { return network_.nodes[i].dims[1]; }
  size_t count() const { return network_.nodes.size(); }

  Network Take(std::vector<size_t> outputs) {
    network_.outputs = std::move(outputs);
    return std::move(network_);
  }

 private:
  Node Like(size_t from, Node::Kind kind) const {
    return {.kind = kind, .inputs = {from}, .dims = network_.nodes[from].dims};
  }

  size_t Put(Node node) {
    network_.nodes.push_back(std::move(node));
    return network_.nodes.size() - 1;
  }

  const int64_t rows_;
  Network network_;
};

}  // namespace torchd

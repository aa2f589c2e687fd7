#include "server/direct/network.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/direct/make_network.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using Kind = Node::Kind;

std::vector<Kind> KindsOf(const Network& network) {
  std::vector<Kind> kinds;
  for (const Node& node : network.nodes) kinds.push_back(node.kind);
  return kinds;
}

TEST(SimplifiedTest, ScaleAndActivationGoIntoTheConvolution) {
  NetworkMaker make;
  const size_t input = make.Input(2);
  const size_t convolution = make.Convolution(input, 3, 0.5F, 1);
  const size_t scaled = make.Affine(convolution, 4, 10);
  const Network simple = Simplified(make.Take({make.Relu(scaled)}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution));
  const Node& made = simple.nodes[1];
  EXPECT_EQ(made.activation.kind, Activation::Kind::kRelu);
  EXPECT_THAT(made.weights.span(), ::testing::Each(2));
  EXPECT_THAT(made.bias.span(), ElementsAre(14, 14, 14));
  EXPECT_THAT(simple.outputs, ElementsAre(1));
}

TEST(SimplifiedTest, WhatOthersNeedStaysAsItIs) {
  NetworkMaker make;
  const size_t convolution = make.Convolution(make.Input(2), 3);
  const size_t scaled = make.Affine(convolution, 4, 10);
  const Network simple = Simplified(make.Take({make.Relu(scaled), convolution}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution, Kind::kAffine));
  EXPECT_TRUE(simple.nodes[1].activation.none());
  EXPECT_EQ(simple.nodes[2].activation.kind, Activation::Kind::kRelu);
}

TEST(SimplifiedTest, TheLaterConvolutionTakesTheSum) {
  NetworkMaker make;
  const size_t input = make.Input(2);
  const size_t first = make.Convolution(input, 3);
  const size_t second = make.Convolution(input, 3);
  const Network simple = Simplified(make.Take({make.Relu(make.Add(first, second))}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution, Kind::kConvolution));
  EXPECT_FALSE(simple.nodes[1].adds);
  EXPECT_TRUE(simple.nodes[2].adds);
  EXPECT_THAT(simple.nodes[2].inputs, ElementsAre(0, 1));
  EXPECT_EQ(simple.nodes[2].activation.kind, Activation::Kind::kRelu);
}

TEST(SimplifiedTest, AnActivationOfAConvolutionIsNotASum) {
  NetworkMaker make;
  const size_t input = make.Input(3);
  const size_t active = make.Relu(make.Convolution(input, 3));
  const Network simple = Simplified(make.Take({make.Add(active, input)}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution, Kind::kAdd));
}

TEST(SimplifiedTest, ChannelsAreTracedToWhatMadeThem) {
  NetworkMaker make;
  const size_t input = make.Input(2);
  const size_t first = make.Convolution(input, 2);
  const size_t second = make.Convolution(input, 2);
  const size_t joined = make.Channels({first, second}, {{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  const size_t turned = make.Channels({joined}, {{0, 3}, {0, 1}, {0, 2}});
  const Network simple = Simplified(make.Take({turned}));
  const Node& node = simple.nodes[simple.outputs[0]];
  EXPECT_THAT(node.inputs, ElementsAre(2, 1));
  EXPECT_THAT(node.channels, ElementsAre(Channel{0, 1}, Channel{1, 1}, Channel{0, 0}));
  EXPECT_EQ(simple.nodes.size(), 4u);  // The join is gone.
}

TEST(SimplifiedTest, ThereAndBackIsNothing) {
  NetworkMaker make;
  const size_t made = make.Convolution(make.Input(2), 2);
  const size_t turned = make.Channels({made}, {{0, 1}, {0, 0}});
  const size_t back = make.Channels({turned}, {{0, 1}, {0, 0}});
  const Network simple = Simplified(make.Take({back}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution));
}

TEST(SimplifiedTest, WhatStandsForTwoTakesNothingIn) {
  NetworkMaker make;
  const size_t made = make.Convolution(make.Input(2), 2);
  const size_t same = make.Channels({made}, {{0, 0}, {0, 1}});
  const Network simple = Simplified(make.Take({make.Relu(same), made}));
  EXPECT_THAT(KindsOf(simple), ElementsAre(Kind::kInput, Kind::kConvolution, Kind::kActivation));
  EXPECT_TRUE(simple.nodes[1].activation.none());
}

TEST(ActivationTest, OnlySomeKeepZero) {
  EXPECT_TRUE((Activation{Activation::Kind::kClip, 0, 6}).KeepsZero());
  EXPECT_FALSE((Activation{Activation::Kind::kClip, 1, 6}).KeepsZero());
  EXPECT_FALSE(Activation{Activation::Kind::kSigmoid}.KeepsZero());
  EXPECT_TRUE(Activation{Activation::Kind::kSwish}.KeepsZero());
}

}  // namespace
}  // namespace torchd

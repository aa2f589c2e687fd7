#include "server/rpc/benchmark_wire.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BenchmarkWireTest, WhatIsNotSaidHasItsDefault) {
  const auto spec = FromWire(v1::BenchmarkRequest());
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->batch_size, 1);
  EXPECT_EQ(spec->length, std::nullopt);
  EXPECT_EQ(spec->warm_up, kBenchmarkWarmUp);
  EXPECT_EQ(spec->repeats, std::nullopt);
  EXPECT_EQ(spec->duration, std::nullopt);
  EXPECT_EQ(spec->concurrency, 1);
}

// Else nothing would be refused that is 0.
TEST(BenchmarkWireTest, ZeroIsSaid) {
  v1::BenchmarkRequest request;
  request.set_batch_size(0);
  request.set_length(0);
  request.set_warm_up(0);
  request.set_repeats(0);
  request.set_concurrency(0);
  const auto spec = FromWire(request);
  EXPECT_EQ(spec->batch_size, 0);
  EXPECT_EQ(spec->length, 0);
  EXPECT_EQ(spec->warm_up, 0);
  EXPECT_EQ(spec->repeats, 0);
  EXPECT_EQ(spec->concurrency, 0);
  request.set_duration_ms(0);
  EXPECT_EQ(FromWire(request)->duration, milliseconds(0));
  EXPECT_EQ(FromWire(request)->repeats, std::nullopt) << "one of the two";
}

TEST(BenchmarkWireTest, DurationsBeyondAllBoundsStayBeyondTheRange) {
  v1::BenchmarkRequest request;
  request.set_duration_ms(std::numeric_limits<int64_t>::max());
  EXPECT_GT(*FromWire(request)->duration, kBenchmarkDurationMax);
  request.set_duration_ms(std::numeric_limits<int64_t>::min());
  EXPECT_LT(*FromWire(request)->duration, kBenchmarkDurationMin);
}

TEST(BenchmarkWireTest, MoreShapesThanAModelCanHaveAreRefused) {
  v1::BenchmarkRequest request;
  for (int i = 0; i < 9; ++i) request.add_shapes()->add_shape(1);
  EXPECT_TRUE(FromWire(request).ok());
  for (int i = 0; i < 8; ++i) request.mutable_shapes(0)->add_shape(1);
  EXPECT_THAT(std::string(FromWire(request).status().message()),
              HasSubstr("got 9 sizes, at most 8"));
  request.mutable_shapes(0)->clear_shape();
  while (request.shapes_size() < 65) request.add_shapes();
  EXPECT_THAT(std::string(FromWire(request).status().message()), HasSubstr("got 65, at most 64"));
}

TEST(BenchmarkWireTest, TimesAreMicrosecondsWithTheirFractions) {
  BenchmarkResult result;
  result.plan = Plan::kOneDnn;
  result.inputs = {{"x", DataType::kFloat32, {3, 224}}};
  result.times.count = 3;
  result.times.p50 = std::chrono::nanoseconds(1500);
  result.times.median = {microseconds(1), microseconds(2), 0.75};
  result.bins = {{microseconds(1), microseconds(3), 3}};
  result.curve = {milliseconds(2)};
  v1::BenchmarkResult wire;
  ToWire(result, wire);
  EXPECT_EQ(wire.plan(), "onednn");
  EXPECT_THAT(wire.inputs(0).shape(), ElementsAre(3, 224));
  EXPECT_EQ(wire.times().p50_us(), 1.5);
  EXPECT_EQ(wire.times().median_high_us(), 2);
  EXPECT_EQ(wire.times().median_confidence(), 0.75);
  EXPECT_EQ(wire.bins(0).to_us(), 3);
  EXPECT_EQ(wire.curve_us(0), 2000);
}

}  // namespace
}  // namespace torchd

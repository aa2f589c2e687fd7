// How far an answer is from the one that was expected.
//
// Thread-safety: functions without state.
#pragma once

#include "server/inference/tensor.h"

namespace torchd {

// What a difference in a float32 tensor is divided by: its largest finite number, but not more than
// 1. Of probabilities among a thousand classes a difference of 1e-4 is much, of scores around 10 it
// is none.
double ScaleOf(const Tensor& expected);

// |got - expected| by the larger of `scale` and |expected|; 0 where both are infinite alike or both
// are no number, infinite where one is.
double DifferenceOf(float expected, float got, double scale);

// The largest of a float32 tensor's; any other has to hold the same bytes. Infinite where type or
// shape differ.
double DifferenceOf(const Tensor& expected, const Tensor& got);

}  // namespace torchd

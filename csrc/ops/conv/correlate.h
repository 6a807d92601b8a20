// One correlation with unit distance between positions in the lowered source: the forward pass,
// or one residue class of the gradient of the input.
#pragma once
#include <vector>

#include "cpu/isa/elementwise.h"
#include "ops/conv/lower.h"

namespace tg {

template <class T>
struct Correlation {
  int64_t n = 0, groups = 1;
  int64_t src_channels = 0, dst_channels = 0;  // per group
  AxisTaps taps[3];
  Source src;  // (n, groups * channels, z, y, x); src_channels of it may be pairs, as in w
  View dst;    // one element per position
  // Weight of (group, dst channel, src channel, tap): w[group * w_group + ... + w_tap[tap]].
  const T* w = nullptr;
  int64_t w_group = 0, w_dst = 0, w_src = 0;
  std::vector<int64_t> w_tap;
  const T* bias = nullptr;          // groups * dst_channels, or nullptr
  const ElementOp* then = nullptr;  // what the sums go through at last
};

template <class T>
bool correlate(const Correlation<T>& c);

}  // namespace tg

// Convolution with one channel per group whose result is as large as its input.
#pragma once
#include <cstdint>

namespace tg {

// Position q of a plane reads in[q + offset[t]] with tap t, where bit l of masks[q / lanes * taps +
// t] is set for lane l; other lanes read padding, and nothing there is touched.
struct DepthwiseArgs {
  int64_t taps, size;  // positions of a plane
  const int64_t* offset;
  const uint32_t* masks;
  int64_t planes, in, out;  // how many, and how far apart they are
};

struct DepthwiseKernels {
  int lanes;
  // y[q] = bias + sum over t of w[t] * x[q + offset[t]]; every plane has a w and a bias of its own.
  void (*correlate)(const DepthwiseArgs& d, const float* w, const float* x, const float* bias,
                    float* y);
  // sums[t] (lanes values each) = sum over planes and q of g[q] * x[q + offset[t]]; planes of g are
  // out apart.
  void (*weight)(const DepthwiseArgs& d, const float* g, const float* x, float* sums);
};

}  // namespace tg

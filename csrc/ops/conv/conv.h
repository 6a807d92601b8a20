// Convolution (cross-correlation) on the CPU: parameters, geometry and the algorithms.
//
// Everything below sees five axes: (n, c, z, y, x) and (o, c / groups, kz, ky, kx). A 2-d image has
// z = 1; a 1-d signal lies along y, so that its rows are one element long and follow each other.
#pragma once
#include <cstdint>
#include <string>

#include "core/array.h"
#include "core/view.h"
#include "cpu/isa/elementwise.h"

namespace tg {

enum class ConvOp { forward, grad_input, grad_weight };

// given: in view 2. making: what the algorithm makes of it goes to view 4, and nothing is computed.
// kept: it is there.
enum class ConvWeight { given, making, kept };

struct ConvParams {
  ConvOp op;
  int rank;
  int algorithm;
  int64_t n, groups;
  int64_t c, o;  // per group
  int64_t in[3], out[3], kernel[3], stride[3], before[3], dilation[3];
  DType dtype;
  ElementOp then;  // what y goes through in a plan; without kernel: nothing
  ConvWeight weight;

  // The same for algorithms that have elements of y in the caches, in its own type.
  const ElementOp* then_of_y() const {
    return then.kernel == nullptr || is_half(dtype) ? nullptr : &then;
  }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t pixels() const { return out[0] * out[1] * out[2]; }
  double flops() const {
    return 2.0 * double(n) * double(groups) * double(o) * double(c) * double(taps()) *
           double(pixels());
  }
};

// Views of one call: the result first, then as the entry lists them. bias.data is nullptr where
// there is none; it belongs to forward only.
//   forward: y, x, w, bias     grad_input: gx, g, w     grad_weight: gw, g, x
using ConvViews = View[4];
constexpr int kKeptWeight = 4;  // in plans for inference

// The algorithms. Each returns false when there is no memory for its working space.
bool is_pointwise(const ConvParams& p, const View* views);
bool conv_pointwise(const ConvParams& p, const View* views);
bool is_covering(const ConvParams& p, const View* views);
bool conv_covering(const ConvParams& p, const View* views);
bool conv_direct(const ConvParams& p, const View* views);

// F(m x m, r x r), named m x r; see cpu/isa/winograd_kernels.h.
bool is_winograd3(const ConvParams& p, const View* views);
bool is_winograd5(const ConvParams& p, const View* views);
bool conv_winograd_2x3(const ConvParams& p, const View* views);
bool conv_winograd_4x3(const ConvParams& p, const View* views);
bool conv_winograd_2x5(const ConvParams& p, const View* views);
// 3 x 3 with stride 2, two of the taps F(4, 2).
bool is_winograd3_by_2(const ConvParams& p, const View* views);
bool conv_winograd_4x3_by_2(const ConvParams& p, const View* views);
int64_t winograd_floats(const ConvParams& p, const View* views, const char* name);
bool is_output_lanes(const ConvParams& p, const View* views);
bool conv_output_lanes(const ConvParams& p, const View* views);
bool is_depthwise(const ConvParams& p, const View* views);
bool conv_depthwise(const ConvParams& p, const View* views);
bool is_patches(const ConvParams& p, const View* views);
bool conv_patches(const ConvParams& p, const View* views);
bool conv_plain(const ConvParams& p, const View* views);

// Whether the direct sums add two products of bfloat16 at once: of neighbouring channels, which a
// group has in pairs unless it is alone, or of images for the weight.
bool sums_pairs(const ConvParams& p);

// The first algorithm of the list of p.op that applies; prints it under TILEGRAD_VERBOSE=1. With
// impl, the one of this name; raises where it does not apply.
int choose_conv(const char* op, const ConvParams& p, const View* views, const std::string& impl);
// How many floats the algorithm makes of a weight that are worth keeping.
int64_t kept_floats(const ConvParams& p, const View* views);
bool run_conv(const ConvParams& p, const View* views);
const char* conv_name(const ConvParams& p);
// For tests: only this algorithm is considered, as far as it applies. Empty: all of them. False
// when there is no such name.
bool force_conv(const char* name);
// Whether float32 may be computed by algorithms with larger errors than the sums of the formula.
void allow_winograd(bool allowed);
bool winograd_allowed();

// Reads source coordinate at[i] + position * step for tap i; used by all algorithms but the plain.
inline int64_t tap_at(const ConvParams& p, int axis, int64_t tap) {
  return tap * p.dilation[axis] - p.before[axis];
}

}  // namespace tg

// What the normalisations share.
#pragma once
#include <pybind11/pybind11.h>

#include "core/parallel.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/norm_kernels.h"
#include "ops/copy/prepare.h"

namespace tg {

template <class T>
const NormRows<T>& norm_rows();
template <>
inline const NormRows<float>& norm_rows<float>() {
  return kernels().norm->f32;
}
template <>
inline const NormRows<double>& norm_rows<double>() {
  return kernels().norm->f64;
}

constexpr int64_t kNormGrain = 16384;  // elements a thread should at least take
constexpr int64_t kNormRows = 64;      // rows whose sums are formed in T before going on in double

inline int64_t norm_grain(int64_t row) { return row >= kNormGrain ? 1 : kNormGrain / (row + 1); }

// How batch_norm sees an array.
struct ChannelLayout {
  int64_t outer, channels, inner;  // inner 1 and rows of channels when channels lie innermost
  double eps;
  bool relu;
};
// views: x, mean, var, weight, bias, residual, y.
void batch_norm_kernel(const ChannelLayout& p, const View* views);

void bind_layer_norm(py::module_& m);
// Of batch norms into the layers before them.
void register_folding();

}  // namespace tg

// An element-wise operation on whole arrays.
#pragma once
#include "core/folds.h"
#include "core/loop.h"
#include "core/stream.h"
#include "cpu/isa/elementwise.h"
#include "cpu/isa/kernels.h"

namespace tg {

// Of a recorded call of an element-wise kernel.
struct ElementParams {
  ElementOp op;
  int64_t grain;
};

constexpr int64_t kFunctionGrain = 32768;  // of ElementParams, for what costs little

// Whether an element-wise call is this one.
inline bool computes(const Node& n, ElementKernel kernel) {
  return reinterpret_cast<const ElementParams*>(n.params)->op.kernel == kernel;
}

// views: the output, and the inputs broadcast to its shape.
template <int N>
void apply_elements(ElementOp op, int64_t grain, const View* views) {
  const View* operands[N];
  const ElementwiseKernels& table = *kernels().elementwise;
  bool in_place = false;
  for (int k = 0; k < N; ++k) {
    operands[k] = &views[k];
    op.dtypes[k] = views[k].dtype;
    in_place = in_place || (k > 0 && views[k].data == views[0].data);
  }
  const auto loop = make_loop<N>(*reinterpret_cast<const View* const(*)[N]>(&operands));
  const int width = itemsize(views[0].dtype);
  op.stream = !in_place && past_caches(loop.size * width);
  int cross = -1, widest = width;
  for (int k = 1; k < N; ++k) {
    const int item = itemsize(views[k].dtype);
    widest = std::max(widest, item);
    if (cross < 0 && !in_place) cross = crossing_axis(loop, k, item);
  }
  constexpr int64_t kWorthTiles = 1024;
  if (cross >= 0 && loop.size >= kWorthTiles) {
    parallel_tiles(loop, cross, kTileBytes / widest, grain,
                   [&](char** p, const int64_t* across, const int64_t* down, int64_t n,
                       int64_t rows) { table.tile(op, p, across, down, n, rows); });
  } else {
    parallel_rows(loop, grain,
                  [&](char** p, const int64_t* s, int64_t n) { table.row(op, p, s, n); });
  }
}

// What a call of a kernel that ends its work with `then` may take over from a neighbour: functions
// of one operand, of float types. ReLU keeps denormals, but finds none in the results of
// arithmetic.
inline bool fold_function(const Node& next, ElementOp* then) {
  const DType t = next.views[0].dtype;
  const bool relu = computes(next, kernels().elementwise->unary(Unary::relu, t));
  if (then->kernel != nullptr || next.count != 2 || !is_float(t) ||
      (next.arithmetic == Arithmetic::exact && !relu))
    return false;
  *then = reinterpret_cast<const ElementParams*>(next.params)->op;
  then->dtypes[0] = then->dtypes[1] = t;
  return true;
}

// What is left of it where the kernel could not do it on the way.
inline void apply_then(const ElementOp& then, const View& y) {
  const View views[] = {y, y};
  apply_elements<2>(then, kFunctionGrain, views);
}

}  // namespace tg

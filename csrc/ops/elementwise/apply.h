// An element-wise operation on whole arrays.
#pragma once
#include "core/loop.h"
#include "core/stream.h"
#include "cpu/isa/elementwise.h"
#include "cpu/isa/kernels.h"

namespace tg {

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

}  // namespace tg

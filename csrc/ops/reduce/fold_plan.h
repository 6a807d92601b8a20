// How a reduction over any axes of one or two operands is walked: kept axes outside, the sequence
// of reduced elements inside. Everything is decided by shapes and strides, never by threads.
#pragma once
#include "core/array.h"
#include "core/parallel.h"
#include "cpu/isa/row.h"

namespace tg {

constexpr int64_t kFoldGrain = 32768;  // elements worth a thread of their own

struct FoldPlan {
  Sequence seq;
  int64_t length;  // elements per result
  bool columns;    // neighbours in memory belong to neighbouring results
  int outer_ndim;  // kept axes but the innermost, outermost first
  int64_t outer_size[kMaxDims], outer_stride[2][kMaxDims];
  int64_t outer;         // their product
  int64_t run, step[2];  // the innermost kept axis
  int64_t offset[2];     // of the first element, where an axis is walked backwards
  // The work is cut into tasks of block results and segment elements of the sequence.
  int64_t block, blocks, segment, segments;

  int64_t results() const { return outer * run; }
};

// views[0] decides the order of the axes: results are contiguous in its memory order. cell is the
// size in bytes of one accumulator.
FoldPlan make_fold_plan(const View* views, int count, const bool* reduced, int cell);
// The same along one axis whose order matters: walked forwards, never cut.
FoldPlan make_scan_plan(const View* views, int count, int axis, int cell);

// The shape and order of the result of reducing x.
Output empty_reduced(const char* op, DType dtype, const View& x, const bool* reduced,
                     bool keepdims);

// Calls f(segment, result, offsets, results, begin, end) for every task.
template <class F>
void for_fold(const FoldPlan& p, F&& f) {
  const int64_t cost = p.block * p.segment;
  const int64_t grain = cost > kFoldGrain ? 1 : kFoldGrain / (cost > 0 ? cost : 1);
  parallel_for(p.outer * p.blocks * p.segments, grain, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t segment = task % p.segments, block = task / p.segments % p.blocks;
      const int64_t outer = task / p.segments / p.blocks, at = block * p.block;
      int64_t offset[2] = {p.offset[0] + at * p.step[0], p.offset[1] + at * p.step[1]};
      int64_t rest = outer;
      for (int i = p.outer_ndim - 1; i >= 0; --i) {
        const int64_t index = rest % p.outer_size[i];
        rest /= p.outer_size[i];
        for (int k = 0; k < 2; ++k) offset[k] += index * p.outer_stride[k][i];
      }
      const int64_t begin = segment * p.segment;
      f(segment, outer * p.run + at, offset, p.run - at < p.block ? p.run - at : p.block, begin,
        p.length - begin < p.segment ? p.length : begin + p.segment);
    }
  });
}

}  // namespace tg

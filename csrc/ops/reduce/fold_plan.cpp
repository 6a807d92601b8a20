#include "ops/reduce/fold_plan.h"

#include <algorithm>

namespace tg {
namespace {

struct Axes {  // merged where every operand allows it
  int ndim = 0;
  int64_t size[kMaxDims], stride[2][kMaxDims];

  void add(int64_t n, const int64_t (&step)[2]) {
    bool merge = ndim > 0;
    for (int k = 0; k < 2 && merge; ++k) merge = stride[k][ndim - 1] == step[k] * n;
    if (!merge) size[ndim++] = 1;
    size[ndim - 1] *= n;
    for (int k = 0; k < 2; ++k) stride[k][ndim - 1] = step[k];
  }
};

FoldPlan make_plan(const View* views, int count, const bool* reduced, int cell, bool ordered) {
  const View& x = views[0];
  FoldPlan p{};
  Axes axes[2];  // kept, reduced
  int order[kMaxDims];
  memory_order(x, order);
  p.columns = true;
  p.length = 1;
  for (int i = 0; i < x.ndim; ++i) {
    const int a = order[i];
    const int64_t n = x.shape[a];
    if (reduced[a]) p.length *= n;
    if (n == 1) continue;
    int64_t step[2] = {0, 0};
    for (int k = 0; k < count; ++k) step[k] = views[k].strides[a];
    if (reduced[a] && !ordered && step[0] < 0 && n > 0)
      for (int k = 0; k < count; ++k) {
        p.offset[k] += (n - 1) * step[k];
        step[k] = -step[k];
      }
    axes[reduced[a]].add(n, step);
    p.columns = !reduced[a];
  }
  const Axes &kept = axes[0], &inner = axes[1];
  p.seq.ndim = std::max(inner.ndim, 1);
  p.seq.size[0] = 1;
  for (int i = 0; i < inner.ndim; ++i) p.seq.size[i] = inner.size[i];
  for (int k = 0; k < 2; ++k) std::copy_n(inner.stride[k], inner.ndim, p.seq.stride[k]);
  p.outer = p.run = 1;
  p.outer_ndim = std::max(kept.ndim - 1, 0);
  for (int i = 0; i < p.outer_ndim; ++i) p.outer *= p.outer_size[i] = kept.size[i];
  for (int k = 0; k < 2; ++k) {
    std::copy_n(kept.stride[k], p.outer_ndim, p.outer_stride[k]);
    if (kept.ndim > 0) p.step[k] = kept.stride[k][kept.ndim - 1];
  }
  if (kept.ndim > 0) p.run = kept.size[kept.ndim - 1];

  const int64_t length = std::max<int64_t>(p.length, 1);
  // Short runs of one result after another: together they are read in long pieces.
  const bool together = !ordered && inner.ndim > 1 && p.run > 1;
  p.block =
      p.columns ? kColumnBytes / cell : std::max<int64_t>(kFoldGrain / length, together ? 16 : 1);
  p.block = std::max<int64_t>(std::min(p.block, p.run), 1);
  p.blocks = (p.run + p.block - 1) / p.block;
  p.segment = length;
  p.segments = 1;
  const int64_t tasks = p.outer * p.blocks;
  if (!ordered && tasks > 0 && tasks < 64 && p.block * length > 2 * kFoldGrain) {
    const int64_t most =
        std::min((p.block * length - 1) / kFoldGrain + 1, (together ? 63 : 255) / tasks + 1);
    const int64_t unit = together ? inner.size[inner.ndim - 1] : 4096;  // whole runs
    p.segment = (length - 1) / most + 1;
    p.segment = p.segment < unit ? p.segment : (p.segment + unit - 1) / unit * unit;
    p.segments = (length - 1) / p.segment + 1;
  }
  return p;
}

}  // namespace

FoldPlan make_fold_plan(const View* views, int count, const bool* reduced, int cell) {
  return make_plan(views, count, reduced, cell, false);
}

FoldPlan make_scan_plan(const View* views, int count, int axis, int cell) {
  bool scanned[kMaxDims] = {};
  scanned[axis] = true;
  return make_plan(views, count, scanned, cell, true);
}

Output empty_reduced(const char* op, DType dtype, const View& x, const bool* reduced,
                     bool keepdims) {
  int order[kMaxDims], position[kMaxDims], out_order[kMaxDims], ndim = 0, used = 0;
  int64_t shape[kMaxDims];
  memory_order(x, order);
  for (int a = 0; a < x.ndim; ++a) {
    position[a] = ndim;
    if (reduced[a] && !keepdims) continue;
    shape[ndim++] = reduced[a] ? 1 : x.shape[a];
  }
  for (int i = 0; i < x.ndim; ++i)
    if (!reduced[order[i]] || keepdims) out_order[used++] = position[order[i]];
  return empty_ordered(op, dtype, ndim, shape, out_order);
}

}  // namespace tg

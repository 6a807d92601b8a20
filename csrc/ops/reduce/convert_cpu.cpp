#include "core/loop.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/row.h"
#include "ops/copy/copy.h"
#include "ops/reduce/convert.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 32768;

struct NoParams {};

// views: destination, source; one of them is float32, the other a half type.
void convert_kernel(const NoParams&, const View* views) {
  const ConvertTable& table = *kernels().row->convert;
  const bool narrow = is_half(views[0].dtype);
  const DType type = views[narrow ? 0 : 1].dtype;
  const ConvertKernel convert = (narrow ? table.narrow : table.widen)[float_index(type)];
  parallel_rows(make_loop<2>({&views[0], &views[1]}), kGrain,
                [&](char** p, const int64_t* s, int64_t n) { convert(p[0], s[0], p[1], s[1], n); });
}

}  // namespace

DType compute_dtype(DType t) { return is_half(t) ? DType::f32 : t; }

void convert_into(const View& dst, const View& src) {
  if (dst.dtype == src.dtype) return copy_elements(dst, src);
  run(convert_kernel, NoParams{}, {dst, src}, dst.size(), Arithmetic::exact);
}

Output converted(const char* op, const View& x, DType t, const int* order) {
  int own[kMaxDims];
  if (order == nullptr) memory_order(x, own);
  Output y = empty_ordered(op, t, x.ndim, x.shape, order == nullptr ? own : order);
  convert_into(y.view, x);
  return y;
}

View row_major_as(const char* op, const View& x, DType t, py::object* keep) {
  if (x.dtype == t && x.row_major()) return x;
  Output y = empty(op, t, x.ndim, x.shape);
  convert_into(y.view, x);
  *keep = y.array;
  return y.view;
}

py::object narrowed(const char* op, const Output& x, DType t) {
  return x.view.dtype == t ? x.array : converted(op, x.view, t, nullptr).array;
}

}  // namespace tg

#include "ops/copy/prepare.h"

#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/elementwise/apply.h"

namespace tg {
namespace {

struct ConvertParams {};

// views: destination, source.
void convert_kernel(const ConvertParams&, const View* views) {
  const ElementKernel cast = kernels().elementwise->cast(views[1].dtype, views[0].dtype);
  apply_elements<2>({cast, 1, {}, 0, 0, false}, 16384, views);
}

}  // namespace

void convert_elements(const View& dst, const View& src) {
  if (dst.dtype == src.dtype) return copy_elements(dst, src);
  run(convert_kernel, ConvertParams{}, {dst, src}, dst.size(), Arithmetic::exact);
}

View prepared(const char* op, const char* name, py::handle h, DType dtype, Keep& keep) {
  const View v = view_of(h, op, name);
  check_float(op, v, name);
  if (v.dtype == dtype) {
    py::object copy;
    const View contiguous = row_major(op, v, &copy);
    if (copy) keep.push_back(copy);
    return contiguous;
  }
  const Output wide = empty(op, dtype, v.ndim, v.shape);
  convert_elements(wide.view, v);
  keep.push_back(wide.array);
  return wide.view;
}

View per_element(const char* op, const char* name, py::handle h, DType dtype, int64_t count,
                 Keep& keep) {
  if (h.is_none()) return View{};
  const View v = prepared(op, name, h, dtype, keep);
  check(v.size() == count, ErrorKind::shape, op, ": ", name, " expects ", count,
        " elements, but has shape ", shape_of(v));
  return v;
}

py::object finished(const char* op, const Output& y, DType dtype) {
  if (y.view.dtype == dtype) return y.array;
  const Output narrow = empty_like(op, dtype, y.view);
  convert_elements(narrow.view, y.view);
  return narrow.array;
}

}  // namespace tg

#include "ops/copy/prepare.h"

#include "core/loop.h"
#include "core/run.h"
#include "ops/copy/copy.h"

namespace tg {
namespace {

struct ConvertParams {};

// views: destination, source; one of them is a half type, the other float.
void convert_kernel(const ConvertParams&, const View* views) {
  const auto loop = make_loop<2>({&views[0], &views[1]});
  dispatch_float("convert", views[0].dtype, [&](auto to) {
    dispatch_float("convert", views[1].dtype, [&](auto from) {
      using To = typename decltype(to)::type;
      using From = typename decltype(from)::type;
      parallel_rows(loop, 16384, [](char** p, const int64_t* s, int64_t n) {
        for (int64_t i = 0; i < n; ++i)
          *reinterpret_cast<To*>(p[0] + i * s[0]) = compute<To>::store(
              compute_t<To>(compute<From>::load(*reinterpret_cast<const From*>(p[1] + i * s[1]))));
      });
    });
  });
}

}  // namespace

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
  run(convert_kernel, ConvertParams{}, {wide.view, v}, v.size());
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
  run(convert_kernel, ConvertParams{}, {narrow.view, y.view}, y.view.size());
  return narrow.array;
}

}  // namespace tg

// full, copy and copy_into: elements move, nothing is computed.
#include <cstring>

#include "core/args.h"
#include "core/dispatch.h"
#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/elementwise/apply.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 32768;  // elements a thread should at least move

struct CopyParams {};

// views: destination, source (already broadcast to the destination's shape).
void copy_kernel(const CopyParams&, const View* views) {
  apply_elements<2>({nullptr, 1, {}, 0, 0, false}, kGrain, views);
}

struct FillParams {
  uint64_t bits;
};

void fill_kernel(const FillParams& params, const View* views) {
  dispatch_width(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T value;
    std::memcpy(&value, &params.bits, sizeof(T));
    T* out = views[0].ptr<T>();
    parallel_for(views[0].size(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = value;
    });
  });
}

py::object copy(py::handle x, const std::string& order) {
  const View v = view_of(x, "copy", "x");
  const bool row_major = order == "C";
  check(row_major || order == "K", ErrorKind::value, "copy: order must be 'C' or 'K', got '", order,
        "'");
  Output out = row_major ? empty("copy", v.dtype, v.ndim, v.shape) : empty_like("copy", v.dtype, v);
  copy_elements(out.view, v);
  return out.array;
}

void copy_into(py::handle dst, py::handle src) {
  const View d = writable_view_of(dst, "copy_into", "dst");
  View s = view_of(src, "copy_into", "src");
  check_same_dtype("copy_into", d, "dst", s, "src");
  bool fits = s.ndim <= d.ndim;
  for (int i = 0; i < s.ndim && fits; ++i) {
    const int64_t have = s.shape[i], want = d.shape[d.ndim - s.ndim + i];
    fits = have == want || have == 1;
  }
  check(fits, ErrorKind::shape, "copy_into: src of shape ", shape_of(s),
        " does not broadcast to dst of shape ", shape_of(d));
  py::object keep;  // overlapping memory is read completely before it is written
  if (may_overlap(d, s)) {
    keep = copy(src, "K");
    s = view_of(keep, "copy_into", "src");
  }
  copy_elements(d, broadcast_to(s, d.ndim, d.shape));
}

py::object full(const py::tuple& shape, py::handle dtype, py::handle value) {
  const DType t = dtype_of(dtype, "full");
  int64_t dims[kMaxDims];
  const int ndim = integers_of(shape, dims, kMaxDims, "full", "shape");
  // value is a 0-d array of the same dtype: NumPy has already converted and range-checked it.
  const View v = view_of(value, "full", "value");
  check(v.ndim == 0 && v.dtype == t, ErrorKind::dtype, "full: value must be a 0-d array of dtype ",
        dtype_name(t));
  record_value("full", v.data);
  FillParams params{0};
  std::memcpy(&params.bits, v.data, itemsize(t));
  Output out = empty("full", t, ndim, dims);
  run(fill_kernel, params, {out.view}, out.view.size(), Arithmetic::exact);
  return out.array;
}

}  // namespace

void copy_elements(const View& dst, const View& src) {
  run(copy_kernel, CopyParams{}, {dst, src}, dst.size(), Arithmetic::exact);
}

View row_major(const char* op, const View& x, py::object* keep) {
  if (x.row_major()) return x;
  Output out = empty(op, x.dtype, x.ndim, x.shape);
  copy_elements(out.view, x);
  *keep = std::move(out.array);
  return out.view;
}

void bind_copy(py::module_& m) {
  m.def("copy", &copy, py::arg("x"), py::arg("order").none(false) = "K");
  m.def("copy_into", &copy_into, py::arg("dst"), py::arg("src"));
  m.def("full", &full, py::arg("shape"), py::arg("dtype"), py::arg("value"));
}

}  // namespace tg

// gather and take: elements are picked along one axis. Any strides; the result is row major.
#include <atomic>
#include <cstring>

#include "core/dispatch.h"
#include "core/loop.h"
#include "core/run.h"
#include "ops/index/index.h"

namespace tg {
namespace {

struct NormaliseParams {
  const char* op;
  int64_t size;
};

// views: the private copy (row major), the indices.
void normalise_kernel(const NormaliseParams& params, const View* views) {
  const auto loop = make_loop<2>({&views[0], &views[1]});
  const int64_t size = params.size;
  std::atomic<bool> bad{false};
  parallel_rows(loop, kIndexGrain, [&](char** p, const int64_t* s, int64_t n) {
    bool outside = false;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t v = *reinterpret_cast<const int64_t*>(p[1] + i * s[1]);
      const bool ok = v >= -size && v < size;
      outside |= !ok;
      // A bad value is left as it is: still outside [0, size), it is found again below.
      *reinterpret_cast<int64_t*>(p[0] + i * s[0]) = ok && v < 0 ? v + size : v;
    }
    if (outside) bad.store(true, std::memory_order_relaxed);
  });
  if (!bad) return;
  const int64_t* v = views[0].ptr<int64_t>();
  while (*v >= 0 && *v < size) ++v;
  fail(ErrorKind::index, params.op, ": index ", *v, " is out of range for size ", size);
}

struct PickParams {
  int64_t step;  // bytes from one element of x to the next along the indexed axis
};

// views: y (row major), the indices, and x with stride 0 along the indexed axis, all of y's shape.
void pick_kernel(const PickParams& params, const View* views) {
  const auto loop = make_loop<3>({&views[0], &views[1], &views[2]});
  const int64_t step = params.step;
  dispatch_width(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_rows(loop, kIndexGrain, [&](char** p, const int64_t* s, int64_t n) {
      T* y = reinterpret_cast<T*>(p[0]);
      if (s[1] == 0) {  // one index for the whole row
        const char* x = p[2] + *reinterpret_cast<const int64_t*>(p[1]) * step;
        if (s[2] == sizeof(T))
          std::memcpy(y, x, n * sizeof(T));
        else
          for (int64_t i = 0; i < n; ++i) y[i] = *reinterpret_cast<const T*>(x + i * s[2]);
      } else {
        for (int64_t i = 0; i < n; ++i) {
          const int64_t k = *reinterpret_cast<const int64_t*>(p[1] + i * s[1]);
          y[i] = *reinterpret_cast<const T*>(p[2] + i * s[2] + k * step);
        }
      }
    });
  });
}

void pick(const View& y, const View& index, const View& x, int axis) {
  View stretched = x;
  for (int i = 0; i < y.ndim; ++i) stretched.shape[i] = y.shape[i];
  stretched.strides[axis] = 0;
  run(pick_kernel, PickParams{x.strides[axis]}, {y, index, stretched}, y.size(), Arithmetic::exact);
}

}  // namespace

Output checked_indices(const char* op, py::handle index, int64_t size) {
  const View v = view_of(index, op, "index");
  check(v.dtype == DType::i64, ErrorKind::dtype, op, ": index must be int64, got ",
        dtype_name(v.dtype));
  Output out = empty(op, DType::i64, v.ndim, v.shape);
  record_checks();
  run(normalise_kernel, NormaliseParams{op, size}, {out.view, v}, v.size(), Arithmetic::exact);
  return out;
}

int checked_axis(const char* op, int64_t axis, int ndim) {
  check(axis >= 0 && axis < ndim, ErrorKind::index, op, ": axis ", axis,
        " is out of range for an array of ", ndim, " dimensions");
  return int(axis);
}

void check_number(const char* op, const View& x, const char* name) {
  check(x.dtype != DType::b1, ErrorKind::dtype, op, ": ", name, " must not be bool");
}

py::object gather(py::handle x_, py::handle index_, int64_t axis_) {
  const View x = view_of(x_, "gather", "x"), given = view_of(index_, "gather", "index");
  const int axis = checked_axis("gather", axis_, x.ndim);
  bool fits = given.ndim == x.ndim;
  for (int i = 0; i < x.ndim && fits; ++i) fits = i == axis || given.shape[i] <= x.shape[i];
  check(fits, ErrorKind::shape, "gather: expected index no larger than x ", shape_of(x),
        " off axis ", axis, ", got ", shape_of(given));
  const Output index = checked_indices("gather", index_, x.shape[axis]);
  Output y = empty("gather", x.dtype, x.ndim, given.shape);
  pick(y.view, index.view, x, axis);
  return y.array;
}

py::object take(py::handle x_, py::handle index_, int64_t axis_) {
  const View x = view_of(x_, "take", "x");
  const int axis = checked_axis("take", axis_, x.ndim);
  const Output index = checked_indices("take", index_, x.shape[axis]);
  const View& given = index.view;
  int64_t shape[2 * kMaxDims];
  int ndim = 0;
  for (int i = 0; i < axis; ++i) shape[ndim++] = x.shape[i];
  for (int i = 0; i < given.ndim; ++i) shape[ndim++] = given.shape[i];
  for (int i = axis + 1; i < x.ndim; ++i) shape[ndim++] = x.shape[i];
  Output y = empty("take", x.dtype, ndim, shape);
  // The axes of index are one axis of a row-major result, and its values repeat along the others.
  View flat = x, positions = given;
  flat.data = y.view.data;
  flat.shape[axis] = given.size();
  positions.ndim = x.ndim;
  int64_t stride = itemsize(x.dtype);
  for (int i = x.ndim - 1; i >= 0; --i) {
    flat.strides[i] = stride;
    stride *= flat.shape[i];
    positions.shape[i] = flat.shape[i];
    positions.strides[i] = i == axis ? int64_t(sizeof(int64_t)) : 0;
  }
  pick(flat, positions, x, axis);
  return y.array;
}

}  // namespace tg

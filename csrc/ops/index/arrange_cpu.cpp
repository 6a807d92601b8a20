// nonzero, concatenate and roll.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/args.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/index/index.h"

namespace tg {
namespace {

constexpr int64_t kBlock = 16384;  // elements per count

struct NoParams {};

template <class T>
bool is_true(T x) {
  return compute<T>::load(x) != 0;  // NaN is true, -0.0 is not
}

// views: one int64 count per block of kBlock elements, x (row major).
void count_kernel(const NoParams&, const View* views) {
  const View& x = views[1];
  const int64_t size = x.size();
  dispatch_all("nonzero", x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(views[0].shape[0], 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const T* p = x.ptr<T>();
        const int64_t last = std::min(size, (block + 1) * kBlock);
        int64_t count = 0;
        for (int64_t i = block * kBlock; i < last; ++i) count += is_true(p[i]);
        views[0].ptr<int64_t>()[block] = count;
      }
    });
  });
}

// views: y (ndim, count), where each block's entries begin (blocks + 1 values), x (row major).
// Should x have changed since it was counted, a block writes no more than its share, and zeros for
// less.
void positions_kernel(const NoParams&, const View* views) {
  const View &y = views[0], &x = views[2];
  const int64_t size = x.size(), total = y.shape[1];
  const int64_t* starts = views[1].ptr<int64_t>();
  dispatch_all("nonzero", x.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(views[1].shape[0] - 1, 1, [&](int64_t begin, int64_t end) {
      const T* p = x.ptr<T>();
      for (int64_t block = begin; block < end; ++block) {
        int64_t* out = y.ptr<int64_t>() + starts[block];
        const int64_t* const stop = y.ptr<int64_t>() + starts[block + 1];
        const int64_t last = std::min(size, (block + 1) * kBlock);
        for (int64_t i = block * kBlock; i < last && out < stop; ++i) {
          if (!is_true(p[i])) continue;
          int64_t rest = i;
          for (int axis = x.ndim - 1; axis > 0; --axis) {
            out[axis * total] = rest % x.shape[axis];
            rest /= x.shape[axis];
          }
          *out++ = rest;
        }
        for (; out < stop; ++out)
          for (int axis = 0; axis < x.ndim; ++axis) out[axis * total] = 0;
      }
    });
  });
}

View part(const View& v, int axis, int64_t start, int64_t length) {
  View w = v;
  w.data += start * v.strides[axis];
  w.shape[axis] = length;
  return w;
}

}  // namespace

py::object nonzero(py::handle x_) {
  View x = view_of(x_, "nonzero", "x");
  py::object keep;
  x = row_major("nonzero", x, &keep);
  const int64_t blocks = (x.size() + kBlock - 1) / kBlock;
  const int64_t length[] = {blocks}, slots[] = {blocks + 1};
  refuse_capture("nonzero", "the shape of its result depends on values");
  const Output counts = empty("nonzero", DType::i64, 1, length);
  const Output starts = empty("nonzero", DType::i64, 1, slots);
  run(count_kernel, NoParams{}, {counts.view, x}, x.size(), Arithmetic::exact);
  int64_t total = 0;
  for (int64_t i = 0; i < blocks; ++i) {
    starts.view.ptr<int64_t>()[i] = total;
    total += counts.view.ptr<int64_t>()[i];
  }
  starts.view.ptr<int64_t>()[blocks] = total;
  const int64_t shape[] = {x.ndim, total};
  Output y = empty("nonzero", DType::i64, 2, shape);
  if (x.ndim > 0)
    run(positions_kernel, NoParams{}, {y.view, starts.view, x}, x.size(), Arithmetic::exact);
  return y.array;
}

py::object concatenate(const py::sequence& arrays, int64_t axis_) {
  std::vector<View> views;
  for (const auto& a : arrays) views.push_back(view_of(a, "concatenate", "arrays"));
  check(!views.empty(), ErrorKind::value, "concatenate: expected at least one array, got none");
  const View& first = views[0];
  const int axis = checked_axis("concatenate", axis_, first.ndim);
  View joined = first;
  joined.shape[axis] = 0;
  for (const View& v : views) {
    check_same_dtype("concatenate", first, "arrays[0]", v, "another");
    bool fits = v.ndim == first.ndim;
    for (int i = 0; i < first.ndim && fits; ++i) fits = i == axis || v.shape[i] == first.shape[i];
    check(fits, ErrorKind::shape, "concatenate: expected arrays of the shape of the first, ",
          shape_of(first), ", off axis ", axis, ", got ", shape_of(v));
    check(!__builtin_add_overflow(joined.shape[axis], v.shape[axis], &joined.shape[axis]),
          ErrorKind::memory, "concatenate: the joined axis overflows 2^63 elements");
  }
  int order[kMaxDims];
  memory_order(first, order);
  Output y = empty_ordered("concatenate", first.dtype, first.ndim, joined.shape, order);
  int64_t at = 0;
  for (const View& v : views) {
    copy_elements(part(y.view, axis, at, v.shape[axis]), v);
    at += v.shape[axis];
  }
  return y.array;
}

py::object roll(py::handle x_, const py::tuple& shifts, const py::tuple& axes) {
  const View x = view_of(x_, "roll", "x");
  check(shifts.size() == axes.size(), ErrorKind::value,
        "roll: expected as many shifts as axes, got ", shifts.size(), " and ", axes.size());
  int64_t by[kMaxDims] = {};
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = checked_axis("roll", integer_of(axes[i], "roll", "axes"), x.ndim);
    const int64_t n = std::max<int64_t>(x.shape[axis], 1);
    const int64_t shift = integer_of(shifts[i], "roll", "shifts") % n;
    by[axis] = (by[axis] + shift + n) % n;
  }
  Output y = empty_like("roll", x.dtype, x);
  // Along each axis the last `by` elements come first: two parts, so at most 2^ndim copies.
  std::vector<std::pair<View, View>> moves = {{y.view, x}};
  for (int axis = 0; axis < x.ndim; ++axis) {
    if (by[axis] == 0) continue;
    std::vector<std::pair<View, View>> halves;
    const int64_t s = by[axis], n = x.shape[axis];
    for (const auto& [dst, src] : moves) {
      halves.emplace_back(part(dst, axis, 0, s), part(src, axis, n - s, s));
      halves.emplace_back(part(dst, axis, s, n - s), part(src, axis, 0, n - s));
    }
    moves.swap(halves);
  }
  for (const auto& [dst, src] : moves) copy_elements(dst, src);
  return y.array;
}

}  // namespace tg

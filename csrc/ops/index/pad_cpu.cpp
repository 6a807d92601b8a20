// pad and pad_grad in the modes constant, reflect (without the edge) and replicate. Any strides;
// the memory order of the input is kept.
#include <algorithm>
#include <cstring>

#include "core/args.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/index/index.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 8192;

enum class Mode { constant, reflect, replicate };

// One axis: size elements between before and after.
struct Sides {
  int64_t size, before, after;

  int64_t padded() const { return before + size + after; }

  // The element a padded position repeats; -1 for the constant.
  int64_t source(int64_t at, Mode mode) const {
    const int64_t i = at - before;
    if (i >= 0 && i < size) return i;
    if (mode == Mode::constant) return -1;
    if (mode == Mode::replicate) return i < 0 ? 0 : size - 1;
    return i < 0 ? -i : 2 * (size - 1) - i;
  }

  // How many padded positions repeat element i, and the k-th of them; the first is its own.
  int64_t copies(int64_t i, Mode mode) const { return 1 + left(i, mode) + right(i, mode); }
  int64_t copy(int64_t i, int64_t k, Mode mode) const {
    if (k == 0) return before + i;
    const int64_t l = left(i, mode);
    if (k <= l) return mode == Mode::reflect ? before - i : k - 1;
    return before + (mode == Mode::reflect ? 2 * (size - 1) - i : size + k - l - 1);
  }

 private:
  int64_t left(int64_t i, Mode mode) const {
    if (mode == Mode::reflect) return i >= 1 && i <= before;
    return i == 0 ? before : 0;
  }
  int64_t right(int64_t i, Mode mode) const {
    if (mode == Mode::reflect) return i <= size - 2 && i >= size - 1 - after;
    return i == size - 1 ? after : 0;
  }
};

struct PadParams {
  Mode mode;
  int order[kMaxDims];  // axes from the largest stride of the result to the smallest
  Sides sides[kMaxDims];
};

// Visits the rows [begin, end) of a result: index counts all axes but the innermost, order[last].
template <class F>
void for_each_row(const View& y, const int* order, int64_t begin, int64_t end, F&& f) {
  int64_t index[kMaxDims] = {}, rest = begin;
  const int last = y.ndim - 1;
  for (int i = last - 1; i >= 0; --i) {
    index[order[i]] = rest % y.shape[order[i]];
    rest /= y.shape[order[i]];
  }
  for (int64_t row = begin; row < end; ++row) {
    f(index);
    for (int i = last - 1; i >= 0; --i) {
      if (++index[order[i]] < y.shape[order[i]]) break;
      index[order[i]] = 0;
    }
  }
}

int64_t rows_of(const View& y, int inner) {
  return y.shape[inner] == 0 ? 0 : y.size() / y.shape[inner];
}

// views: y, x, the constant.
void pad_kernel(const PadParams& params, const View* views) {
  const View &y = views[0], &x = views[1];
  const int inner = params.order[y.ndim - 1];
  const Sides side = params.sides[inner];
  const int64_t padded = side.padded(), ys = y.strides[inner], xs = x.strides[inner];
  const Mode mode = params.mode;
  dispatch_width(y.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T constant = *views[2].ptr<T>();
    parallel_for(rows_of(y, inner), 1 + kGrain / (padded + 1), [&](int64_t begin, int64_t end) {
      for_each_row(y, params.order, begin, end, [&](const int64_t* index) {
        char* to = y.data;
        const char* from = x.data;
        bool outside = false;
        for (int i = 0; i < y.ndim; ++i) {
          if (i == inner) continue;
          const int64_t source = params.sides[i].source(index[i], mode);
          outside |= source < 0;
          to += index[i] * y.strides[i];
          from += (source < 0 ? 0 : source) * x.strides[i];
        }
        const auto put = [&](int64_t j, T value) { *reinterpret_cast<T*>(to + j * ys) = value; };
        const auto get = [&](int64_t j) { return *reinterpret_cast<const T*>(from + j * xs); };
        if (outside) {
          for (int64_t j = 0; j < padded; ++j) put(j, constant);
          return;
        }
        const auto edge = [&](int64_t j) {
          const int64_t source = side.source(j, mode);
          put(j, source < 0 ? constant : get(source));
        };
        for (int64_t j = 0; j < side.before; ++j) edge(j);
        if (xs == sizeof(T) && ys == sizeof(T))
          std::memcpy(to + side.before * ys, from, side.size * sizeof(T));
        else
          for (int64_t j = 0; j < side.size; ++j) put(side.before + j, get(j));
        for (int64_t j = side.before + side.size; j < padded; ++j) edge(j);
      });
    });
  });
}

// One row of gx: element j is the sum of g over every padded position that repeats it, the
// innermost axis last.
template <class T>
void add_copies(const PadParams& params, const View& gx, const View& g, const int64_t* index,
                int inner) {
  const Sides side = params.sides[inner];
  const Mode mode = params.mode;
  char* to = gx.data;
  int64_t combinations = 1;
  for (int i = 0; i < gx.ndim; ++i) {
    if (i == inner) continue;
    to += index[i] * gx.strides[i];
    combinations *= params.sides[i].copies(index[i], mode);
  }
  // The k-th combination of repeats along the outer axes: where that row of g begins.
  const auto row = [&](int64_t k) {
    const char* p = g.data;
    for (int i = 0; i < gx.ndim; ++i) {
      if (i == inner) continue;
      const int64_t copies = params.sides[i].copies(index[i], mode);
      p += params.sides[i].copy(index[i], k % copies, mode) * g.strides[i];
      k /= copies;
    }
    return p;
  };
  const char* first = row(0);
  const int64_t step = g.strides[inner], gx_step = gx.strides[inner];
  const auto add = [&](int64_t j) {
    const int64_t repeats = side.copies(j, mode);
    compute_t<T> sum = 0;
    for (int64_t k = 0; k < combinations; ++k) {
      const char* p = k == 0 ? first : row(k);
      for (int64_t r = 0; r < repeats; ++r)
        sum += compute<T>::load(*reinterpret_cast<const T*>(p + side.copy(j, r, mode) * step));
    }
    *reinterpret_cast<T*>(to + j * gx_step) = compute<T>::store(sum);
  };
  // Between the edges an element is repeated only as the outer axes are.
  const int64_t begin = std::min(side.size, side.before + 1);
  const int64_t end = combinations > 1 ? begin : std::max(begin, side.size - 1 - side.after);
  for (int64_t j = 0; j < begin; ++j) add(j);
  const char* from = first + side.before * step;
  for (int64_t j = begin; j < end; ++j)
    *reinterpret_cast<T*>(to + j * gx_step) = *reinterpret_cast<const T*>(from + j * step);
  for (int64_t j = end; j < side.size; ++j) add(j);
}

// views: gx, g; modes reflect and replicate.
void pad_grad_kernel(const PadParams& params, const View* views) {
  const View &gx = views[0], &g = views[1];
  const int inner = params.order[gx.ndim - 1];
  const int64_t grain = 1 + kGrain / (gx.shape[inner] + 1);
  dispatch_float("pad_grad", gx.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(rows_of(gx, inner), grain, [&](int64_t begin, int64_t end) {
      for_each_row(gx, params.order, begin, end,
                   [&](const int64_t* index) { add_copies<T>(params, gx, g, index, inner); });
    });
  });
}

// v is x for pad, and g, with padded sizes, for pad_grad.
PadParams read_params(const char* op, const View& v, const py::tuple& widths, const char* mode,
                      bool padded) {
  PadParams params{};
  if (std::strcmp(mode, "reflect") == 0)
    params.mode = Mode::reflect;
  else if (std::strcmp(mode, "replicate") == 0)
    params.mode = Mode::replicate;
  else
    check(std::strcmp(mode, "constant") == 0, ErrorKind::value, op,
          ": mode must be constant, reflect or replicate, got '", mode, "'");
  check(widths.size() == size_t(v.ndim), ErrorKind::shape, op, ": expected ", v.ndim,
        " pairs of widths, one per axis, got ", widths.size());
  for (int i = 0; i < v.ndim; ++i) {
    int64_t pair[2];
    check(integers_of(widths[i], pair, 2, op, "widths") == 2, ErrorKind::shape, op,
          ": expected (before, after) for axis ", i);
    const int64_t before = pair[0], after = pair[1];
    int64_t both = 0, size = v.shape[i];
    bool fits = before >= 0 && after >= 0 && !__builtin_add_overflow(before, after, &both);
    if (padded)
      fits = fits && (size -= both) >= 0;
    else
      fits = fits && !__builtin_add_overflow(both, size, &both);
    if (params.mode == Mode::reflect)
      fits = fits && ((before == 0 && after == 0) || std::max(before, after) < size);
    if (params.mode == Mode::replicate) fits = fits && (size > 0 || (before == 0 && after == 0));
    check(fits, ErrorKind::shape, op, ": ", mode, " padding (", before, ", ", after,
          ") is not possible on axis ", i, " of ", padded ? "g " : "x ", shape_of(v));
    params.sides[i] = {size, before, after};
  }
  memory_order(v, params.order);
  return params;
}

}  // namespace

py::object pad(py::handle x_, const py::tuple& widths, const char* mode, py::handle value_) {
  View x = view_of(x_, "pad", "x");
  // As for full, the value may be a 0-d array of x's dtype already; a number is converted by NumPy.
  const py::object value =
      py::module_::import("numpy").attr("asarray")(value_, py::handle(x_).attr("dtype"));
  const View constant = view_of(value, "pad", "value");
  check(constant.ndim == 0, ErrorKind::shape, "pad: value must be a number, got shape ",
        shape_of(constant));
  PadParams params = read_params("pad", x, widths, mode, false);
  int64_t shape[kMaxDims];
  for (int i = 0; i < x.ndim; ++i) shape[i] = params.sides[i].padded();
  Output y = empty_ordered("pad", x.dtype, x.ndim, shape, params.order);
  if (x.ndim == 0)
    copy_elements(y.view, x);
  else
    run(pad_kernel, params, {y.view, x, constant}, y.view.size(), Arithmetic::exact);
  return y.array;
}

py::object pad_grad(py::handle g_, const py::tuple& widths, const char* mode) {
  const View g = view_of(g_, "pad_grad", "g");
  check_float("pad_grad", g, "g");
  const PadParams params = read_params("pad_grad", g, widths, mode, true);
  View inside = g;
  for (int i = 0; i < g.ndim; ++i) {
    inside.shape[i] = params.sides[i].size;
    inside.data += params.sides[i].before * g.strides[i];
  }
  Output gx = empty_ordered("pad_grad", g.dtype, g.ndim, inside.shape, params.order);
  if (params.mode == Mode::constant || g.ndim == 0)
    copy_elements(gx.view, inside);
  else
    run(pad_grad_kernel, params, {gx.view, g}, g.size());
  return gx.array;
}

}  // namespace tg

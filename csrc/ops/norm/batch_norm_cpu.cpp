// batch_norm and batch_norm_grad. x is seen as (outer, C, inner): NCHW planes of inner contiguous
// elements of one channel, or, when channels lie innermost (channels_last, or no inner axes), rows
// of C contiguous elements. Formulas: Ioffe and Szegedy 2015, section 3.
#include <algorithm>
#include <cmath>

#include "core/run.h"
#include "ops/norm/norm.h"

namespace tg {

namespace {

struct Layout {
  int64_t outer, channels, inner;  // inner 1 and rows of channels when channels lie innermost
  double eps;
};

// views: x, mean, var, weight, bias, y.
void batch_norm_kernel(const Layout& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = views[0].ptr<T>(), *mean = views[1].ptr<T>(), *var = views[2].ptr<T>();
    const T *weight = views[3].ptr<T>(), *bias = views[4].ptr<T>();
    T* y = views[5].ptr<T>();
    const int64_t channels = p.channels;
    std::vector<T> table(3 * channels);
    T *rstd = table.data(), *w = rstd + channels, *b = w + channels;
    for (int64_t c = 0; c < channels; ++c) {
      rstd[c] = T(1) / std::sqrt(var[c] + T(p.eps));
      w[c] = weight ? weight[c] : T(1);
      b[c] = bias ? bias[c] : T(0);
    }
    const auto& rows = norm_rows<T>();
    if (p.inner == 1) {
      parallel_for(p.outer, norm_grain(channels), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          rows.apply(channels, x + i * channels, mean, rstd, 1, w, b, 1, y + i * channels);
      });
    } else {
      parallel_for(p.outer * channels, norm_grain(p.inner), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t c = i % channels;
          rows.apply(p.inner, x + i * p.inner, mean + c, rstd + c, 0, w + c, b + c, 0,
                     y + i * p.inner);
        }
      });
    }
  });
}

// Sums of g and g * xhat per channel, in an order fixed by the shape.
template <class T>
void channel_sums(const Layout& p, const T* g, const T* x, const T* mean, const T* rstd,
                  double* sum_g, double* sum_gx) {
  const auto& rows = norm_rows<T>();
  const int64_t channels = p.channels;
  if (p.inner > 1) {
    const T one = 1;
    parallel_for(channels, norm_grain(p.outer * p.inner), [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        sum_g[c] = sum_gx[c] = 0;
        for (int64_t n = 0; n < p.outer; ++n) {
          const int64_t at = (n * channels + c) * p.inner;
          double part[2];
          rows.sums(p.inner, g + at, x + at, mean[c], rstd[c], &one, 0, part);
          sum_g[c] += part[0];
          sum_gx[c] += part[1];
        }
      }
    });
    return;
  }
  const int64_t blocks = (p.outer + kNormRows - 1) / kNormRows;
  std::vector<T> partial(size_t(blocks) * 2 * channels);
  parallel_for(blocks, norm_grain(channels * kNormRows), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      T* sums = partial.data() + k * 2 * channels;
      for (int64_t n = k * kNormRows; n < std::min(p.outer, (k + 1) * kNormRows); ++n)
        rows.accumulate(channels, g + n * channels, x + n * channels, mean, rstd, 1, sums,
                        sums + channels);
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    sum_g[c] = sum_gx[c] = 0;
    for (int64_t k = 0; k < blocks; ++k) {
      sum_g[c] += partial[k * 2 * channels + c];
      sum_gx[c] += partial[(k * 2 + 1) * channels + c];
    }
  }
}

// views: g, x, mean, var, weight, gx, gweight, gbias.
void batch_norm_grad_kernel(const Layout& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *g = views[0].ptr<T>(), *x = views[1].ptr<T>(), *mean = views[2].ptr<T>();
    const T *var = views[3].ptr<T>(), *weight = views[4].ptr<T>();
    T *gx = views[5].ptr<T>(), *gweight = views[6].ptr<T>(), *gbias = views[7].ptr<T>();
    const int64_t channels = p.channels;
    std::vector<T> table(4 * channels);
    std::vector<double> totals(2 * channels);
    T *rstd = table.data(), *w = rstd + channels, *c1 = w + channels, *c2 = c1 + channels;
    for (int64_t c = 0; c < channels; ++c) {
      rstd[c] = T(1) / std::sqrt(var[c] + T(p.eps));
      w[c] = weight ? weight[c] : T(1);
    }
    double *sum_g = totals.data(), *sum_gx = sum_g + channels;
    channel_sums(p, g, x, mean, rstd, sum_g, sum_gx);
    const double count = double(p.outer) * double(p.inner);
    for (int64_t c = 0; c < channels; ++c) {
      c1[c] = T(double(w[c]) * sum_g[c] / count);
      c2[c] = T(double(w[c]) * sum_gx[c] / count);
      if (weight == nullptr) continue;
      gweight[c] = T(sum_gx[c]);
      gbias[c] = T(sum_g[c]);
    }
    const auto& rows = norm_rows<T>();
    if (p.inner == 1) {
      parallel_for(p.outer, norm_grain(channels), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          rows.grad(channels, g + i * channels, x + i * channels, mean, rstd, c1, c2, 1, w, 1,
                    gx + i * channels);
      });
    } else {
      parallel_for(p.outer * channels, norm_grain(p.inner), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t c = i % channels, at = i * p.inner;
          rows.grad(p.inner, g + at, x + at, mean + c, rstd + c, c1 + c, c2 + c, 0, w + c, 0,
                    gx + at);
        }
      });
    }
  });
}

// The array with its channel axis moved to the end, where that is how it lies in memory.
bool channels_innermost(const View& v) {
  return v.ndim > 2 && v.strides[1] == itemsize(v.dtype) && v.shape[1] > 1 && v.size() > 0 &&
         !v.row_major();
}

py::object moved(py::handle x, bool channels_last) {
  py::object a = py::reinterpret_borrow<py::object>(x);
  if (!channels_last) return a;
  return py::module_::import("numpy").attr("moveaxis")(a, 1, -1);
}

py::object moved_back(const py::object& y, bool channels_last) {
  if (!channels_last) return y;
  return py::module_::import("numpy").attr("moveaxis")(y, -1, 1);
}

Layout layout_of(const char* op, const View& v, bool channels_last, double eps) {
  check(v.ndim >= 2, ErrorKind::shape, op, ": x expects at least 2 dimensions (N, C, ...), got ",
        shape_of(v));
  Layout p{v.shape[0], v.shape[1], 1, eps};
  for (int i = 2; i < v.ndim; ++i) (channels_last ? p.outer : p.inner) *= v.shape[i];
  if (p.inner == 0) p.outer = 0;
  return p;
}

py::object batch_norm(py::handle x, py::handle weight, py::handle bias, py::handle mean,
                      py::handle var, double eps) {
  const View v = view_of(x, "batch_norm", "x");
  check_float("batch_norm", v, "x");
  const bool last = channels_innermost(v);
  const Layout p = layout_of("batch_norm", v, last, eps);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View m = per_element("batch_norm", "mean", mean, t, p.channels, keep);
  const View s = per_element("batch_norm", "var", var, t, p.channels, keep);
  const View w = per_element("batch_norm", "weight", weight, t, p.channels, keep);
  const View b = per_element("batch_norm", "bias", bias, t, p.channels, keep);
  check(m.data != nullptr && s.data != nullptr, ErrorKind::value,
        "batch_norm: mean and var must be given");
  const View in = prepared("batch_norm", "x", moved(x, last), t, keep);
  const Output y = empty("batch_norm", t, in.ndim, in.shape);
  run(batch_norm_kernel, p, {in, m, s, w, b, y.view}, v.size());
  return moved_back(finished("batch_norm", y, v.dtype), last);
}

py::tuple batch_norm_grad(py::handle g, py::handle x, py::handle weight, py::handle mean,
                          py::handle var, double eps) {
  const char* op = "batch_norm_grad";
  const View v = view_of(x, op, "x"), gv = view_of(g, op, "g");
  check_float(op, v, "x");
  check_same_dtype(op, v, "x", gv, "g");
  bool same = gv.ndim == v.ndim;
  for (int i = 0; i < v.ndim && same; ++i) same = gv.shape[i] == v.shape[i];
  check(same, ErrorKind::shape, op, ": g has shape ", shape_of(gv), ", but x has ", shape_of(v));
  const bool last = channels_innermost(v);
  const Layout p = layout_of(op, v, last, eps);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View m = per_element(op, "mean", mean, t, p.channels, keep);
  const View s = per_element(op, "var", var, t, p.channels, keep);
  const View w = per_element(op, "weight", weight, t, p.channels, keep);
  check(m.data != nullptr && s.data != nullptr, ErrorKind::value, op,
        ": mean and var must be given");
  const View gin = prepared(op, "g", moved(g, last), t, keep);
  const View in = prepared(op, "x", moved(x, last), t, keep);
  const Output gx = empty(op, t, in.ndim, in.shape);
  Output gw, gb;
  if (w.data != nullptr) {
    gw = empty(op, t, 1, &p.channels);
    gb = empty(op, t, 1, &p.channels);
  }
  run(batch_norm_grad_kernel, p, {gin, in, m, s, w, gx.view, gw.view, gb.view}, 3 * v.size());
  const py::object first = moved_back(finished(op, gx, v.dtype), last);
  if (w.data == nullptr) return py::make_tuple(first, py::none(), py::none());
  return py::make_tuple(first, finished(op, gw, v.dtype), finished(op, gb, v.dtype));
}

}  // namespace

void bind_norm(py::module_& m) {
  using py::arg;
  m.def("batch_norm", &batch_norm, arg("x"), arg("weight"), arg("bias"), arg("mean"), arg("var"),
        arg("eps"));
  m.def("batch_norm_grad", &batch_norm_grad, arg("g"), arg("x"), arg("weight"), arg("mean"),
        arg("var"), arg("eps"));
  bind_layer_norm(m);
}

}  // namespace tg

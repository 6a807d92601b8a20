// batch_norm and batch_norm_grad, with what may follow: a residual that is added, and a ReLU. x is
// seen as (outer, C, inner): NCHW planes of inner contiguous
// elements of one channel, or, when channels lie innermost (channels_last, or no inner axes), rows
// of C contiguous elements. Formulas: Ioffe and Szegedy 2015, section 3.
#include <algorithm>
#include <cmath>

#include "core/run.h"
#include "ops/copy/store.h"
#include "ops/elementwise/apply.h"
#include "ops/norm/norm.h"

namespace tg {

using Layout = ChannelLayout;

namespace {

// Where channels lie innermost: values per channel, repeated so that a row of them is worth a call.
template <class T>
struct PerChannel {
  int64_t repeat, width;
  std::vector<T> values;
  PerChannel(const Layout& p, int count)
      : repeat(p.inner > 1 ? 1
                           : std::max<int64_t>(kStage / 2 / std::max<int64_t>(p.channels, 1), 1)),
        width(repeat * p.channels),
        values(count * width) {}
  T* row(int i) { return values.data() + i * width; }
  void fill() {
    for (size_t at = 0; at < values.size(); at += width)
      for (int64_t i = width / repeat; i < width; ++i)
        values[at + i] = values[at + i - width / repeat];
  }
};

// Calls f(at, m, c, step, out) for all elements of y in pieces: m of them from at on, to be
// written to out. Their channels' values are at c, c + step, ...
template <class T, class F>
void for_pieces(const Layout& p, int64_t width, T* y, F&& f) {
  const int64_t channels = p.channels, total = p.outer * channels * p.inner;
  const bool past = past_caches(total * int64_t(sizeof(T)));
  if (p.inner > 1) {
    parallel_for(p.outer * channels, norm_grain(p.inner), [&](int64_t begin, int64_t end) {
      store_rows(begin, end, p.inner, y, past, [&](int64_t r, int64_t i, int64_t m, T* out) {
        f(r * p.inner + i, m, r % channels, 0, out);
      });
    });
    return;
  }
  if (total == 0) return;
  parallel_for((total - 1) / width + 1, norm_grain(width), [&](int64_t begin, int64_t end) {
    const int64_t whole = std::min(end, total / width);
    store_rows(begin, whole, width, y, past,
               [&](int64_t r, int64_t i, int64_t m, T* out) { f(r * width + i, m, i, 1, out); });
    for (int64_t r = whole; r < end; ++r) f(r * width, total - r * width, 0, 1, y + r * width);
  });
}

}  // namespace

void batch_norm_kernel(const Layout& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = views[0].ptr<T>(), *mean = views[1].ptr<T>(), *var = views[2].ptr<T>();
    const T *weight = views[3].ptr<T>(), *bias = views[4].ptr<T>(), *z = views[5].ptr<T>();
    PerChannel<T> table(p, 4);
    T *m = table.row(0), *rstd = table.row(1), *w = table.row(2), *b = table.row(3);
    for (int64_t c = 0; c < p.channels; ++c) {
      m[c] = mean[c];
      rstd[c] = T(1) / std::sqrt(var[c] + T(p.eps));
      w[c] = weight ? weight[c] : T(1);
      b[c] = bias ? bias[c] : T(0);
    }
    table.fill();
    const auto apply = norm_rows<T>().apply;
    for_pieces(p, table.width, views[6].ptr<T>(),
               [&](int64_t at, int64_t n, int64_t c, int step, T* out) {
                 apply(n, x + at, m + c, rstd + c, step, w + c, b + c, step, z ? z + at : nullptr,
                       p.relu, out);
               });
  });
}

namespace {

// Sums of g and g * xhat per channel, in an order fixed by the shape. g counts where y, unless
// null, is positive.
template <class T>
void channel_sums(const Layout& p, const T* g, const T* y, const T* x, const T* mean, const T* rstd,
                  double* sum_g, double* sum_gx) {
  const auto& rows = norm_rows<T>();
  const int64_t channels = p.channels;
  if (p.inner > 1) {
    const T one = 1;
    parallel_for(channels, norm_grain(p.outer * p.inner), [&](int64_t begin, int64_t end) {
      std::fill(sum_g + begin, sum_g + end, 0.0);
      std::fill(sum_gx + begin, sum_gx + end, 0.0);
      for (int64_t n = 0; n < p.outer; ++n)  // outside, so that memory is read in order
        for (int64_t c = begin; c < end; ++c) {
          const int64_t at = (n * channels + c) * p.inner;
          double part[2];
          rows.sums(p.inner, g + at, y ? y + at : nullptr, x + at, mean[c], rstd[c], &one, 0, part);
          sum_g[c] += part[0];
          sum_gx[c] += part[1];
        }
    });
    return;
  }
  const int64_t blocks = (p.outer + kNormRows - 1) / kNormRows;
  std::vector<T> partial(size_t(blocks) * 2 * channels);
  parallel_for(blocks, norm_grain(channels * kNormRows), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      T* sums = partial.data() + k * 2 * channels;
      const int64_t n = k * kNormRows, at = n * channels;
      rows.columns(std::min(p.outer - n, kNormRows), channels, g + at, y ? y + at : nullptr, x + at,
                   mean, rstd, sums, sums + channels);
    }
  });
  parallel_for(channels, norm_grain(2 * blocks), [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) sum_g[c] = sum_gx[c] = 0;
    for (int64_t k = 0; k < blocks; ++k)
      for (int64_t c = begin; c < end; ++c) {
        sum_g[c] += partial[k * 2 * channels + c];
        sum_gx[c] += partial[(k * 2 + 1) * channels + c];
      }
  });
}

// views: g, x, mean, var, weight, y, gx, gweight, gbias, gresidual.
void batch_norm_grad_kernel(const Layout& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *g = views[0].ptr<T>(), *x = views[1].ptr<T>(), *mean = views[2].ptr<T>();
    const T *var = views[3].ptr<T>(), *weight = views[4].ptr<T>();
    const T* y = views[5].ptr<T>();
    T *gweight = views[7].ptr<T>(), *gbias = views[8].ptr<T>(), *gz = views[9].ptr<T>();
    const int64_t channels = p.channels;
    PerChannel<T> table(p, 5);
    std::vector<double> totals(2 * channels);
    T *m = table.row(0), *rstd = table.row(1), *w = table.row(2), *c1 = table.row(3),
      *c2 = table.row(4);
    for (int64_t c = 0; c < channels; ++c) {
      m[c] = mean[c];
      rstd[c] = T(1) / std::sqrt(var[c] + T(p.eps));
      w[c] = weight ? weight[c] : T(1);
    }
    double *sum_g = totals.data(), *sum_gx = sum_g + channels;
    channel_sums(p, g, y, x, m, rstd, sum_g, sum_gx);
    const double count = double(p.outer) * double(p.inner);
    for (int64_t c = 0; c < channels; ++c) {
      c1[c] = T(double(w[c]) * sum_g[c] / count);
      c2[c] = T(double(w[c]) * sum_gx[c] / count);
      if (weight == nullptr) continue;
      gweight[c] = T(sum_gx[c]);
      gbias[c] = T(sum_g[c]);
    }
    table.fill();
    const auto grad = norm_rows<T>().grad;
    const auto stream = kernels().elementwise->stream;
    const bool past = past_caches(p.outer * channels * p.inner * int64_t(sizeof(T)));
    for_pieces(p, table.width, views[6].ptr<T>(),
               [&](int64_t at, int64_t n, int64_t c, int step, T* out) {
                 alignas(64) T stage[kStage];
                 const bool staged = gz && past && n <= kStage;
                 grad(n, g + at, y ? y + at : nullptr, x + at, m + c, rstd + c, c1 + c, c2 + c,
                      step, w + c, step, out,
                      staged ? stage
                      : gz   ? gz + at
                             : nullptr);
                 if (staged)
                   stream(reinterpret_cast<char*>(gz + at), reinterpret_cast<const char*>(stage),
                          n * int64_t(sizeof(T)));
               });
  });
}

// In a plan: a residual that is added and a ReLU behind it, or one of them. The bits are those of
// the parts.
bool fold_next(const Node& call, const Node& next, int at) {
  bool& relu = reinterpret_cast<Layout*>(call.params)->relu;
  const DType t = call.views[6].dtype;
  const ElementwiseKernels& table = *kernels().elementwise;
  if (relu) return false;
  if (next.count == 2 && computes(next, table.unary(Unary::relu, t)))
    relu = true;
  else if (next.count == 3 && computes(next, table.binary(Binary::add, t)) &&
           call.views[5].data == nullptr)
    call.put(5, call.views[6], next, 3 - at);
  else
    return false;
  call.put(6, call.views[6], next, 0);
  return true;
}

// The gradient of the ReLU behind.
bool fold_before(const Node& call, const Node& before, bool shared) {
  const DType t = call.views[0].dtype;
  if (call.views[5].data != nullptr || before.count != 3 ||
      !computes(before, kernels().elementwise->unary_grad(UnaryGrad::relu, t)))
    return false;
  if (shared && call.views[9].data != nullptr) return false;
  if (shared) call.put(9, call.views[6], before, 0);
  call.put(5, call.views[0], before, 2);
  call.put(0, call.views[0], before, 1);
  return true;
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

Layout layout_of(const char* op, const View& v, bool channels_last, double eps, bool relu) {
  check(v.ndim >= 2, ErrorKind::shape, op, ": x expects at least 2 dimensions (N, C, ...), got ",
        shape_of(v));
  Layout p{v.shape[0], v.shape[1], 1, eps, relu};
  for (int i = 2; i < v.ndim; ++i) (channels_last ? p.outer : p.inner) *= v.shape[i];
  if (p.inner == 0) p.outer = 0;
  return p;
}

// h, of the shape of x, as prepared; a view without data for None.
View prepared_like(const char* op, const char* name, py::handle h, const View& x,
                   bool channels_last, DType t, Keep& keep) {
  if (h.is_none()) return View{};
  const View v = view_of(h, op, name);
  check_same_dtype(op, x, "x", v, name);
  check(v.ndim == x.ndim && std::equal(v.shape, v.shape + v.ndim, x.shape), ErrorKind::shape, op,
        ": ", name, " has shape ", shape_of(v), ", but x has ", shape_of(x));
  return prepared(op, name, moved(h, channels_last), t, keep);
}

py::object batch_norm(py::handle x, py::handle weight, py::handle bias, py::handle mean,
                      py::handle var, double eps, py::handle residual, bool relu) {
  const View v = view_of(x, "batch_norm", "x");
  check_float("batch_norm", v, "x");
  const bool last = channels_innermost(v);
  const Layout p = layout_of("batch_norm", v, last, eps, relu);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View m = per_element("batch_norm", "mean", mean, t, p.channels, keep);
  const View s = per_element("batch_norm", "var", var, t, p.channels, keep);
  const View w = per_element("batch_norm", "weight", weight, t, p.channels, keep);
  const View b = per_element("batch_norm", "bias", bias, t, p.channels, keep);
  check(m.data != nullptr && s.data != nullptr, ErrorKind::value,
        "batch_norm: mean and var must be given");
  const View z = prepared_like("batch_norm", "residual", residual, v, last, t, keep);
  const View in = prepared("batch_norm", "x", moved(x, last), t, keep);
  const Output y = empty("batch_norm", t, in.ndim, in.shape);
  run(batch_norm_kernel, p, {in, m, s, w, b, z, y.view}, v.size());
  return moved_back(finished("batch_norm", y, v.dtype), last);
}

py::tuple batch_norm_grad(py::handle g, py::handle x, py::handle weight, py::handle mean,
                          py::handle var, double eps, py::handle y, bool residual) {
  const char* op = "batch_norm_grad";
  const View v = view_of(x, op, "x");
  check_float(op, v, "x");
  const bool last = channels_innermost(v);
  const Layout p = layout_of(op, v, last, eps, false);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View m = per_element(op, "mean", mean, t, p.channels, keep);
  const View s = per_element(op, "var", var, t, p.channels, keep);
  const View w = per_element(op, "weight", weight, t, p.channels, keep);
  check(m.data != nullptr && s.data != nullptr && !g.is_none(), ErrorKind::value, op,
        ": g, mean and var must be given");
  const View gin = prepared_like(op, "g", g, v, last, t, keep);
  const View out = prepared_like(op, "y", y, v, last, t, keep);
  const View in = prepared(op, "x", moved(x, last), t, keep);
  const Output gx = empty(op, t, in.ndim, in.shape);
  Output gw, gb, gz;
  if (w.data != nullptr) {
    gw = empty(op, t, 1, &p.channels);
    gb = empty(op, t, 1, &p.channels);
  }
  if (residual) gz = empty(op, t, in.ndim, in.shape);
  run(batch_norm_grad_kernel, p, {gin, in, m, s, w, out, gx.view, gw.view, gb.view, gz.view},
      3 * v.size());
  const auto result = [&](const Output& o, bool channels_last) -> py::object {
    if (!o.array) return py::none();
    return moved_back(finished(op, o, v.dtype), channels_last);
  };
  return py::make_tuple(result(gx, last), result(gw, false), result(gb, false), result(gz, last));
}

}  // namespace

void bind_norm(py::module_& m) {
  using py::arg;
  register_fold_next(reinterpret_cast<void (*)()>(batch_norm_kernel), 6, fold_next);
  register_fold_before(reinterpret_cast<void (*)()>(batch_norm_grad_kernel), 0, fold_before);
  m.def("batch_norm", &batch_norm, arg("x"), arg("weight"), arg("bias"), arg("mean"), arg("var"),
        arg("eps"), arg("residual") = py::none(), arg("relu") = false);
  m.def("batch_norm_grad", &batch_norm_grad, arg("g"), arg("x"), arg("weight"), arg("mean"),
        arg("var"), arg("eps"), arg("y") = py::none(), arg("residual") = false);
  bind_layer_norm(m);
  register_folding();
}

}  // namespace tg

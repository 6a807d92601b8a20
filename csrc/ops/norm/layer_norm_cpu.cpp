// layer_norm, group_norm and their gradients, on row-major arrays.
// Ba, Kiros and Hinton 2016; Wu and He 2018.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "core/run.h"
#include "ops/norm/norm.h"

namespace tg {
namespace {

// The shapes of the statistics and of the weights.
struct Layout {
  int statistics_ndim, weight_ndim;
  int64_t statistics[kMaxDims], weight[kMaxDims];
};

struct RowParams {
  static constexpr const char *name = "layer_norm", *grad_name = "layer_norm_grad";
  int64_t rows, length;  // x is (rows, length); statistics are per row
  double eps;
  static RowParams of(const char* op, const View& x, int64_t ndim, double eps, Layout* at);
};

template <class T>
void row_statistics(const T* x, int64_t n, double eps, T* mean, T* rstd) {
  double m = 0, v = 0;
  norm_rows<T>().moments(n, x, &m, &v);
  *mean = T(m);
  *rstd = T(1.0 / std::sqrt(v + eps));
}

// views: x, weight, bias, y, mean, rstd. Weights are per element of a row.
void norm_kernel(const RowParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T one = 1, zero = 0;
    const T *x = views[0].ptr<T>(), *weight = views[1].ptr<T>(), *bias = views[2].ptr<T>();
    T *y = views[3].ptr<T>(), *mean = views[4].ptr<T>(), *rstd = views[5].ptr<T>();
    // A bias without a weight, or the reverse, is filled up so that one kernel serves.
    std::vector<T> ones(weight == nullptr && bias != nullptr ? p.length : 0, one);
    std::vector<T> zeros(weight != nullptr && bias == nullptr ? p.length : 0, zero);
    const bool plain = weight == nullptr && bias == nullptr;
    const T* w = plain ? &one : weight ? weight : ones.data();
    const T* b = plain ? &zero : bias ? bias : zeros.data();
    parallel_for(p.rows, norm_grain(p.length), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        row_statistics(x + i * p.length, p.length, p.eps, mean + i, rstd + i);
        norm_rows<T>().apply(p.length, x + i * p.length, mean + i, rstd + i, 0, w, b, !plain,
                             nullptr, false, y + i * p.length);
      }
    });
  });
}

// views: g, x, weight, mean, rstd, gx, gweight, gbias.
void norm_grad_kernel(const RowParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T one = 1;
    const T *g = views[0].ptr<T>(), *x = views[1].ptr<T>(), *weight = views[2].ptr<T>();
    const T *mean = views[3].ptr<T>(), *rstd = views[4].ptr<T>();
    T *gx = views[5].ptr<T>(), *gweight = views[6].ptr<T>(), *gbias = views[7].ptr<T>();
    const T* w = weight ? weight : &one;
    const int step = weight != nullptr;
    const int64_t n = p.length, blocks = (p.rows + kNormRows - 1) / kNormRows;
    const auto& rows = norm_rows<T>();
    std::vector<T> partial(weight ? size_t(blocks) * 2 * n : 0);
    parallel_for(blocks, norm_grain(n * kNormRows), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        T* sums = weight ? partial.data() + k * 2 * n : nullptr;
        for (int64_t i = k * kNormRows; i < std::min(p.rows, (k + 1) * kNormRows); ++i) {
          double total[2];
          rows.sums(n, g + i * n, nullptr, x + i * n, mean[i], rstd[i], w, step, total);
          const T c1 = T(total[0] / double(n)), c2 = T(total[1] / double(n));
          rows.grad(n, g + i * n, nullptr, x + i * n, mean + i, rstd + i, &c1, &c2, 0, w, step,
                    gx + i * n, nullptr);
          if (weight)
            rows.accumulate(n, g + i * n, x + i * n, mean + i, rstd + i, 0, sums, sums + n);
        }
      }
    });
    if (weight == nullptr) return;
    for (int64_t j = 0; j < n; ++j) {
      double sum_g = 0, sum_gx = 0;
      for (int64_t k = 0; k < blocks; ++k) {
        sum_g += partial[k * 2 * n + j];
        sum_gx += partial[(k * 2 + 1) * n + j];
      }
      gweight[j] = T(sum_gx);
      gbias[j] = T(sum_g);
    }
  });
}

struct GroupParams {
  static constexpr const char *name = "group_norm", *grad_name = "group_norm_grad";
  int64_t samples, channels, inner, groups;
  double eps;
  static GroupParams of(const char* op, const View& x, int64_t groups, double eps, Layout* at);
};

// views: x, weight, bias, y, mean, rstd. Weights are per channel.
void norm_kernel(const GroupParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T one = 1, zero = 0;
    const T *x = views[0].ptr<T>(), *weight = views[1].ptr<T>(), *bias = views[2].ptr<T>();
    T *y = views[3].ptr<T>(), *mean = views[4].ptr<T>(), *rstd = views[5].ptr<T>();
    const int64_t members = p.channels / p.groups, length = members * p.inner;
    parallel_for(p.samples * p.groups, norm_grain(length), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        row_statistics(x + i * length, length, p.eps, mean + i, rstd + i);
        for (int64_t k = 0; k < members; ++k) {
          const int64_t c = i % p.groups * members + k, at = i * length + k * p.inner;
          norm_rows<T>().apply(p.inner, x + at, mean + i, rstd + i, 0, weight ? weight + c : &one,
                               bias ? bias + c : &zero, 0, nullptr, false, y + at);
        }
      }
    });
  });
}

// views: g, x, weight, mean, rstd, gx, gweight, gbias.
void norm_grad_kernel(const GroupParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T one = 1;
    const T *g = views[0].ptr<T>(), *x = views[1].ptr<T>(), *weight = views[2].ptr<T>();
    const T *mean = views[3].ptr<T>(), *rstd = views[4].ptr<T>();
    T *gx = views[5].ptr<T>(), *gweight = views[6].ptr<T>(), *gbias = views[7].ptr<T>();
    const int64_t members = p.channels / p.groups, length = members * p.inner;
    const auto& rows = norm_rows<T>();
    // Per (sample, channel): sum of g and of g * xhat.
    std::vector<double> sums(size_t(p.samples) * p.channels * 2);
    parallel_for(p.samples * p.groups, norm_grain(length), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double h = 0, hx = 0;
        for (int64_t k = 0; k < members; ++k) {
          const int64_t c = i % p.groups * members + k, at = i * length + k * p.inner;
          double* part = sums.data() + (i * members + k) * 2;
          rows.sums(p.inner, g + at, nullptr, x + at, mean[i], rstd[i], &one, 0, part);
          const double w = weight ? double(weight[c]) : 1.0;
          h += w * part[0];
          hx += w * part[1];
        }
        const T c1 = T(h / double(length)), c2 = T(hx / double(length));
        for (int64_t k = 0; k < members; ++k) {
          const int64_t c = i % p.groups * members + k, at = i * length + k * p.inner;
          rows.grad(p.inner, g + at, nullptr, x + at, mean + i, rstd + i, &c1, &c2, 0,
                    weight ? weight + c : &one, 0, gx + at, nullptr);
        }
      }
    });
    if (weight == nullptr) return;
    for (int64_t c = 0; c < p.channels; ++c) {
      double sum_g = 0, sum_gx = 0;
      for (int64_t n = 0; n < p.samples; ++n) {
        sum_g += sums[(n * p.channels + c) * 2];
        sum_gx += sums[(n * p.channels + c) * 2 + 1];
      }
      gweight[c] = T(sum_gx);
      gbias[c] = T(sum_g);
    }
  });
}

// Statistics over nothing are NaN, as a mean of no numbers.
void fill_nan(const Output& mean, const Output& rstd) {
  dispatch_compute(mean.view.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < mean.view.size(); ++i)
      mean.view.ptr<T>()[i] = rstd.view.ptr<T>()[i] = T(NAN);
  });
}

RowParams RowParams::of(const char* op, const View& v, int64_t ndim, double eps, Layout* at) {
  check(ndim >= 1 && ndim <= v.ndim, ErrorKind::shape, op, ": normalises the last ", ndim,
        " axes, but x has shape ", shape_of(v));
  RowParams p{1, 1, eps};
  for (int i = 0; i < v.ndim; ++i) (i < v.ndim - ndim ? p.rows : p.length) *= v.shape[i];
  if (p.length == 0) p.rows = 0;
  *at = {v.ndim - int(ndim), int(ndim), {}, {}};
  std::copy(v.shape, v.shape + at->statistics_ndim, at->statistics);
  std::copy(v.shape + at->statistics_ndim, v.shape + v.ndim, at->weight);
  return p;
}

GroupParams GroupParams::of(const char* op, const View& v, int64_t groups, double eps, Layout* at) {
  check(v.ndim >= 2, ErrorKind::shape, op, ": x expects at least 2 dimensions (N, C, ...), got ",
        shape_of(v));
  GroupParams p{v.shape[0], v.shape[1], 1, groups, eps};
  check(groups >= 1 && p.channels % groups == 0, ErrorKind::shape, op, ": ", p.channels,
        " channels do not divide into ", groups, " groups");
  for (int i = 2; i < v.ndim; ++i) p.inner *= v.shape[i];
  if (v.size() == 0) p.samples = 0;
  *at = {2, 1, {v.shape[0], groups}, {p.channels}};
  return p;
}

void check_like(const char* op, const View& g, const View& x) {
  check_same_dtype(op, x, "x", g, "g");
  bool same = g.ndim == x.ndim;
  for (int i = 0; i < x.ndim && same; ++i) same = g.shape[i] == x.shape[i];
  check(same, ErrorKind::shape, op, ": g has shape ", shape_of(g), ", but x has ", shape_of(x));
}

int64_t product(int ndim, const int64_t* shape) {
  return std::accumulate(shape, shape + ndim, int64_t(1), std::multiplies<int64_t>());
}

// split: the number of axes, or of groups, that are normalised.
template <class Params>
py::tuple norm(py::handle x, py::handle weight, py::handle bias, int64_t split, double eps) {
  const char* op = Params::name;
  const View v = view_of(x, op, "x");
  check_float(op, v, "x");
  Layout at;
  const Params p = Params::of(op, v, split, eps, &at);
  const int64_t weights = product(at.weight_ndim, at.weight);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View in = prepared(op, "x", x, t, keep);
  const View w = per_element(op, "weight", weight, t, weights, keep);
  const View b = per_element(op, "bias", bias, t, weights, keep);
  const Output y = empty(op, t, v.ndim, v.shape);
  const Output mean = empty(op, t, at.statistics_ndim, at.statistics);
  const Output rstd = empty(op, t, at.statistics_ndim, at.statistics);
  if (v.size() == 0) fill_nan(mean, rstd);
  run(static_cast<void (*)(const Params&, const View*)>(norm_kernel), p,
      {in, w, b, y.view, mean.view, rstd.view}, 2 * v.size());
  return py::make_tuple(finished(op, y, v.dtype), finished(op, mean, v.dtype),
                        finished(op, rstd, v.dtype));
}

template <class Params>
py::tuple norm_grad(py::handle g, py::handle x, py::handle weight, py::handle mean, py::handle rstd,
                    int64_t split) {
  const char* op = Params::grad_name;
  const View v = view_of(x, op, "x");
  check_float(op, v, "x");
  check_like(op, view_of(g, op, "g"), v);
  Layout at;
  const Params p = Params::of(op, v, split, 0.0, &at);
  const int64_t statistics = product(at.statistics_ndim, at.statistics);
  const DType t = compute_dtype(v.dtype);
  Keep keep;
  const View gin = prepared(op, "g", g, t, keep), in = prepared(op, "x", x, t, keep);
  const View w = per_element(op, "weight", weight, t, product(at.weight_ndim, at.weight), keep);
  const View m = per_element(op, "mean", mean, t, statistics, keep);
  const View r = per_element(op, "rstd", rstd, t, statistics, keep);
  check(!mean.is_none() && !rstd.is_none(), ErrorKind::value, op, ": mean and rstd must be given");
  const Output gx = empty(op, t, v.ndim, v.shape);
  Output gw, gb;
  if (!weight.is_none()) {
    gw = empty(op, t, at.weight_ndim, at.weight);
    gb = empty(op, t, at.weight_ndim, at.weight);
  }
  run(static_cast<void (*)(const Params&, const View*)>(norm_grad_kernel), p,
      {gin, in, w, m, r, gx.view, gw.view, gb.view}, 3 * v.size());
  if (!gw.array) return py::make_tuple(finished(op, gx, v.dtype), py::none(), py::none());
  return py::make_tuple(finished(op, gx, v.dtype), finished(op, gw, v.dtype),
                        finished(op, gb, v.dtype));
}

}  // namespace

void bind_layer_norm(py::module_& m) {
  using py::arg;
  m.def("layer_norm", &norm<RowParams>, arg("x"), arg("weight"), arg("bias"), arg("ndim"),
        arg("eps"));
  m.def("layer_norm_grad", &norm_grad<RowParams>, arg("g"), arg("x"), arg("weight"), arg("mean"),
        arg("rstd"), arg("ndim"));
  m.def("group_norm", &norm<GroupParams>, arg("x"), arg("weight"), arg("bias"), arg("groups"),
        arg("eps"));
  m.def("group_norm_grad", &norm_grad<GroupParams>, arg("g"), arg("x"), arg("weight"), arg("mean"),
        arg("rstd"), arg("groups"));
}

}  // namespace tg

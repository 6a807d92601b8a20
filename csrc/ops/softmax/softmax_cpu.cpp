// softmax, log_softmax, their gradients, logsumexp, cross_entropy and its gradient. Rows along the
// axis are made contiguous where they are not.
#include <algorithm>
#include <string>

#include "core/args.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/softmax_kernels.h"
#include "ops/copy/copy.h"
#include "ops/copy/prepare.h"
#include "ops/copy/store.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 4096;  // exponentials a thread should at least take

template <class T>
const SoftmaxRows<T>& rows();
template <>
const SoftmaxRows<float>& rows<float>() {
  return kernels().softmax->f32;
}
template <>
const SoftmaxRows<double>& rows<double>() {
  return kernels().softmax->f64;
}

int64_t grain_of(int64_t row) { return row >= kGrain ? 1 : kGrain / (row + 1); }

// ln(sum(exp(row))) as shift + rest, so that differences to a logit keep their digits.
template <class T>
struct LogSum {
  T shift = 0, rest = T(-__builtin_inf());
  LogSum(int64_t n, const T* row) {
    if (n > 0) rest = rows<T>().logsumexp(n, row, &shift);
  }
  T total() const { return shift + rest; }
  T minus(T logit) const { return rest - (logit - shift); }
};

struct RowParams {
  int64_t count, length;
  bool logarithm;
};

// Rows are computed whole, so only those that fit a stage can pass the caches by.
bool stored_past(const RowParams& p, size_t item) {
  return p.length <= kStage && past_caches(p.count * p.length * int64_t(item));
}

// views: x, y.
void forward_kernel(const RowParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto f = p.logarithm ? rows<T>().log_softmax : rows<T>().softmax;
    const T* x = views[0].ptr<T>();
    T* y = views[1].ptr<T>();
    const bool past = stored_past(p, sizeof(T));
    parallel_for(p.count, grain_of(p.length), [&](int64_t begin, int64_t end) {
      store_rows(begin, end, p.length, y, past,
                 [&](int64_t r, int64_t, int64_t n, T* out) { f(n, x + r * n, out); });
    });
  });
}

// views: g, y, gx.
void backward_kernel(const RowParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto f = p.logarithm ? rows<T>().log_softmax_grad : rows<T>().softmax_grad;
    const T *g = views[0].ptr<T>(), *y = views[1].ptr<T>();
    T* gx = views[2].ptr<T>();
    const bool past = stored_past(p, sizeof(T));
    parallel_for(p.count, grain_of(p.length), [&](int64_t begin, int64_t end) {
      store_rows(begin, end, p.length, gx, past,
                 [&](int64_t r, int64_t, int64_t n, T* out) { f(n, g + r * n, y + r * n, out); });
    });
  });
}

// views: x, y.
void logsumexp_kernel(const RowParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = views[0].ptr<T>();
    T* y = views[1].ptr<T>();
    parallel_for(p.count, grain_of(p.length), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) y[i] = LogSum<T>(p.length, x + i * p.length).total();
    });
  });
}

py::object numpy_moveaxis(py::handle a, int from, int to) {
  return py::module_::import("numpy").attr("moveaxis")(a, from, to);
}

int checked_axis(const char* op, const View& v, int64_t axis) {
  check(axis >= 0 && axis < v.ndim, ErrorKind::index, op, ": axis ", axis,
        " is out of range for x of shape ", shape_of(v));
  return int(axis);
}

// y, whose axis lies last, with the axis back in place and in the memory order of like.
py::object restored(const char* op, const Output& y, DType dtype, const View& like, int axis) {
  const py::object array = finished(op, y, dtype);
  if (axis == like.ndim - 1 && like.row_major()) return array;
  const py::object moved = numpy_moveaxis(array, -1, axis);
  const Output out = empty_like(op, dtype, like);
  copy_elements(out.view, view_of(moved, op, "y"));
  return out.array;
}

template <bool Logarithm>
py::object forward(py::handle x, int64_t axis) {
  const char* op = Logarithm ? "log_softmax" : "softmax";
  const View v = view_of(x, op, "x");
  check_float(op, v, "x");
  const int at = checked_axis(op, v, axis);
  Keep keep{numpy_moveaxis(x, at, -1)};
  const View in = prepared(op, "x", keep[0], compute_dtype(v.dtype), keep);
  const Output y = empty(op, in.dtype, in.ndim, in.shape);
  const int64_t n = v.shape[at];
  if (v.size() > 0)
    run(forward_kernel, RowParams{v.size() / n, n, Logarithm}, {in, y.view}, 8 * v.size());
  return restored(op, y, v.dtype, v, at);
}

template <bool Logarithm>
py::object backward(py::handle g, py::handle y, int64_t axis) {
  const char* op = Logarithm ? "log_softmax_grad" : "softmax_grad";
  const View v = view_of(y, op, "y"), gv = view_of(g, op, "g");
  check_float(op, v, "y");
  check_same_dtype(op, v, "y", gv, "g");
  check(gv.ndim == v.ndim && std::equal(v.shape, v.shape + v.ndim, gv.shape), ErrorKind::shape, op,
        ": g has shape ", shape_of(gv), ", but y has ", shape_of(v));
  const int at = checked_axis(op, v, axis);
  Keep keep{numpy_moveaxis(g, at, -1), numpy_moveaxis(y, at, -1)};
  const View gin = prepared(op, "g", keep[0], compute_dtype(v.dtype), keep);
  const View yin = prepared(op, "y", keep[1], compute_dtype(v.dtype), keep);
  const Output gx = empty(op, yin.dtype, yin.ndim, yin.shape);
  const int64_t n = v.shape[at];
  if (v.size() > 0)
    run(backward_kernel, RowParams{v.size() / n, n, Logarithm}, {gin, yin, gx.view}, 8 * v.size());
  return restored(op, gx, v.dtype, v, at);
}

py::object logsumexp(py::handle x, const py::tuple& axes, bool keepdims) {
  const char* op = "logsumexp";
  const View v = view_of(x, op, "x");
  check_float(op, v, "x");
  bool reduced[kMaxDims] = {};
  for (py::handle a : axes) {
    const int at = checked_axis(op, v, integer_of(a, op, "axes"));
    check(!reduced[at], ErrorKind::value, op, ": axis ", at, " is named twice");
    reduced[at] = true;
  }
  py::list order;
  int64_t shape[kMaxDims], length = 1, count = 1;
  int ndim = 0;
  for (int i = 0; i < v.ndim; ++i) {
    if (!reduced[i]) order.append(i);
    (reduced[i] ? length : count) *= v.shape[i];
    if (!reduced[i] || keepdims) shape[ndim++] = reduced[i] ? 1 : v.shape[i];
  }
  for (int i = 0; i < v.ndim; ++i)
    if (reduced[i]) order.append(i);
  Keep keep{py::reinterpret_borrow<py::object>(x).attr("transpose")(py::tuple(order))};
  const View in = prepared(op, "x", keep[0], compute_dtype(v.dtype), keep);
  const Output y = empty(op, in.dtype, ndim, shape);
  run(logsumexp_kernel, RowParams{count, length, false}, {in, y.view}, 8 * v.size());
  return finished(op, y, v.dtype);
}

enum class Reduction { none, mean, sum };

struct EntropyParams {
  int64_t rows, classes, ignore_index;
  double smoothing;
  Reduction reduction;
};

constexpr int64_t kLosses = 1024;  // summed one after the other

// views: x, target, weight, loss, lse, and unless reduction is none total and room for two sums of
// every kLosses rows.
void cross_entropy_kernel(const EntropyParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *x = views[0].ptr<T>(), *weight = views[2].ptr<T>();
    const int64_t* target = views[1].ptr<int64_t>();
    T *loss = views[3].ptr<T>(), *lse = views[4].ptr<T>();
    const T hard = T(1 - p.smoothing),
            soft = T(p.smoothing / double(std::max<int64_t>(p.classes, 1)));
    const auto loss_of = [&](int64_t i) {
      const T* row = x + i * p.classes;
      const LogSum<T> sum(p.classes, row);
      lse[i] = sum.total();
      const int64_t t = target[i];
      if (t == p.ignore_index) return T(0);
      const T own = hard * (weight ? weight[t] : T(1)) * sum.minus(row[t]);
      if (p.smoothing == 0) return own;
      double total = 0;
      for (int64_t c = 0; c < p.classes; ++c)
        total += double(weight ? weight[c] : T(1)) * double(sum.minus(row[c]));
      return own + soft * T(total);
    };
    if (p.reduction == Reduction::none) {
      parallel_for(p.rows, grain_of(p.classes), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) loss[i] = loss_of(i);
      });
      return;
    }
    double *const total = views[5].ptr<double>(), *const sums = views[6].ptr<double>();
    const int64_t parts = ceil_div(p.rows, kLosses);
    parallel_for(parts, ceil_div(grain_of(p.classes), kLosses), [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        double losses = 0, weights = 0;
        for (int64_t i = part * kLosses; i < std::min(p.rows, (part + 1) * kLosses); ++i) {
          losses += double(loss_of(i));
          if (target[i] != p.ignore_index) weights += weight ? double(weight[target[i]]) : 1.0;
        }
        sums[2 * part] = losses;
        sums[2 * part + 1] = weights;
      }
    });
    double losses = 0, weights = 0;
    for (int64_t part = 0; part < parts; ++part) {
      losses += sums[2 * part];
      weights += sums[2 * part + 1];
    }
    *total = p.reduction == Reduction::mean ? weights : 1.0;
    *loss = T(losses / *total);
  });
}

// views: g, x, lse, target, weight, gx, total. With a total, g is one number to be divided by it.
void cross_entropy_grad_kernel(const EntropyParams& p, const View* views) {
  dispatch_compute(views[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *g = views[0].ptr<T>(), *x = views[1].ptr<T>(), *lse = views[2].ptr<T>();
    const int64_t* target = views[3].ptr<int64_t>();
    const T* weight = views[4].ptr<T>();
    T* gx = views[5].ptr<T>();
    const bool reduced = views[6].data != nullptr;
    const T share = reduced ? T(double(*g) / *views[6].ptr<double>()) : T(0);
    const T hard = T(1 - p.smoothing),
            soft = T(p.smoothing / double(std::max<int64_t>(p.classes, 1)));
    double all = double(p.classes);
    if (weight != nullptr) {
      all = 0;
      for (int64_t c = 0; c < p.classes; ++c) all += double(weight[c]);
    }
    const bool past = p.classes <= kStage && past_caches(p.rows * p.classes * int64_t(sizeof(T)));
    parallel_for(p.rows, grain_of(p.classes), [&](int64_t begin, int64_t end) {
      store_rows(begin, end, p.classes, gx, past, [&](int64_t i, int64_t, int64_t, T* out) {
        const int64_t t = target[i];
        if (t == p.ignore_index) {
          for (int64_t c = 0; c < p.classes; ++c) out[c] = 0;
          return;
        }
        const T own = hard * (weight ? weight[t] : T(1)), slope = reduced ? share : g[i];
        rows<T>().exp_shifted(p.classes, x + i * p.classes, lse[i], slope * (own + soft * T(all)),
                              out);
        out[t] -= slope * own;
        if (p.smoothing == 0) return;
        for (int64_t c = 0; c < p.classes; ++c)
          out[c] -= slope * soft * (weight ? weight[c] : T(1));
      });
    });
  });
}

struct TargetParams {
  const char* op;
  int64_t classes, ignore_index;
};

// views: target. Raises before anything reads outside a row.
void target_kernel(const TargetParams& p, const View* views) {
  const int64_t* target = views[0].ptr<int64_t>();
  for (int64_t i = 0; i < views[0].shape[0]; ++i)
    check(target[i] == p.ignore_index || (target[i] >= 0 && target[i] < p.classes),
          ErrorKind::index, p.op, ": target ", target[i], " at position ", i, " is outside [0, ",
          p.classes, ") and is not ignore_index (", p.ignore_index, ')');
}

// target as contiguous int64 of N elements, every one a class or ignore_index.
View checked_target(const char* op, const View& x, py::handle h, int64_t ignore_index, Keep& keep) {
  const View t = view_of(h, op, "target");
  check(x.ndim == 2, ErrorKind::shape, op, ": x expects shape (N, C), got ", shape_of(x));
  check(t.dtype == DType::i64, ErrorKind::dtype, op, ": target must be int64, got ",
        dtype_name(t.dtype));
  check(t.ndim == 1 && t.shape[0] == x.shape[0], ErrorKind::shape, op, ": target expects shape (",
        x.shape[0], ",) as x has shape ", shape_of(x), ", got ", shape_of(t));
  py::object copy;
  const View flat = row_major(op, t, &copy);
  if (copy) keep.push_back(copy);
  run(target_kernel, TargetParams{op, x.shape[1], ignore_index}, {flat}, flat.shape[0],
      Arithmetic::exact);
  return flat;
}

EntropyParams entropy_params(const char* op, const View& x, int64_t ignore_index, double smoothing,
                             Reduction reduction) {
  check_float(op, x, "x");
  check(smoothing >= 0 && smoothing <= 1, ErrorKind::value, op,
        ": smoothing must lie in [0, 1], got ", smoothing);
  return {x.ndim == 2 ? x.shape[0] : 0, x.ndim == 2 ? x.shape[1] : 0, ignore_index, smoothing,
          reduction};
}

py::tuple cross_entropy(py::handle x, py::handle target, py::handle weight, int64_t ignore_index,
                        double smoothing, const std::string& reduction) {
  const char* op = "cross_entropy";
  const View v = view_of(x, op, "x");
  check(reduction == "none" || reduction == "mean" || reduction == "sum", ErrorKind::value, op,
        ": reduction must be 'none', 'mean' or 'sum', got '", reduction, '\'');
  const EntropyParams p = entropy_params(op, v, ignore_index, smoothing,
                                         reduction == "none"   ? Reduction::none
                                         : reduction == "mean" ? Reduction::mean
                                                               : Reduction::sum);
  Keep keep;
  const View t = checked_target(op, v, target, ignore_index, keep);
  const DType d = compute_dtype(v.dtype);
  const View w = per_element(op, "weight", weight, d, p.classes, keep);
  const View in = prepared(op, "x", x, d, keep);
  const Output lse = empty(op, d, 1, &p.rows);
  if (p.reduction == Reduction::none) {
    const Output loss = empty(op, d, 1, &p.rows);
    run(cross_entropy_kernel, p, {in, t, w, loss.view, lse.view}, 8 * v.size());
    return py::make_tuple(finished(op, loss, v.dtype), finished(op, lse, v.dtype), py::none());
  }
  const int64_t room = 2 * ceil_div(p.rows, kLosses);
  const Output loss = empty(op, d, 0, nullptr), total = empty(op, DType::f64, 0, nullptr),
               sums = empty(op, DType::f64, 1, &room);
  run(cross_entropy_kernel, p, {in, t, w, loss.view, lse.view, total.view, sums.view},
      8 * v.size());
  return py::make_tuple(finished(op, loss, v.dtype), finished(op, lse, v.dtype), total.array);
}

py::object cross_entropy_grad(py::handle g, py::handle x, py::handle lse, py::handle target,
                              py::handle weight, int64_t ignore_index, double smoothing,
                              py::handle total) {
  const char* op = "cross_entropy_grad";
  const View v = view_of(x, op, "x");
  const EntropyParams p = entropy_params(op, v, ignore_index, smoothing, Reduction::none);
  Keep keep;
  const View t = checked_target(op, v, target, ignore_index, keep);
  const DType d = compute_dtype(v.dtype);
  const View w = per_element(op, "weight", weight, d, p.classes, keep);
  check(!g.is_none() && !lse.is_none(), ErrorKind::value, op, ": g and lse must be given");
  const View gin = per_element(op, "g", g, d, total.is_none() ? p.rows : 1, keep);
  const View by = per_element(op, "total_weight", total, DType::f64, 1, keep);
  const View l = per_element(op, "lse", lse, d, p.rows, keep);
  const View in = prepared(op, "x", x, d, keep);
  const Output gx = empty(op, d, 2, v.shape);
  run(cross_entropy_grad_kernel, p, {gin, in, l, t, w, gx.view, by}, 8 * v.size());
  return finished(op, gx, v.dtype);
}

}  // namespace

void bind_softmax(py::module_& m) {
  using py::arg;
  m.def("softmax", &forward<false>, arg("x"), arg("axis"));
  m.def("log_softmax", &forward<true>, arg("x"), arg("axis"));
  m.def("softmax_grad", &backward<false>, arg("g"), arg("y"), arg("axis"));
  m.def("log_softmax_grad", &backward<true>, arg("g"), arg("y"), arg("axis"));
  m.def("logsumexp", &logsumexp, arg("x"), arg("axes"), arg("keepdims"));
  m.def("cross_entropy", &cross_entropy, arg("x"), arg("target"), arg("weight"),
        arg("ignore_index"), arg("smoothing"), arg("reduction") = "none");
  m.def("cross_entropy_grad", &cross_entropy_grad, arg("g"), arg("x"), arg("lse"), arg("target"),
        arg("weight"), arg("ignore_index"), arg("smoothing"), arg("total_weight") = py::none());
}

}  // namespace tg

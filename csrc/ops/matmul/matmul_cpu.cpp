// matmul and linear: a batch of products, or one product where the batch is just more rows.
#include <algorithm>
#include <atomic>
#include <sstream>
#include <type_traits>

#include "core/array.h"
#include "core/dispatch.h"
#include "core/kept.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "core/run.h"
#include "cpu/gemm_half.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/elementwise/apply.h"
#include "ops/matmul/ladder.h"

namespace tg {
namespace {

// Multiply-adds of one product: below this the threads share the batch, above it each product.
constexpr int64_t kSmall = int64_t(1) << 21;

// One matrix of a batch; strides in elements.
template <class T>
struct Matrix {
  T* data;
  int64_t row_stride, col_stride;
};

struct Sizes {
  int64_t m, n, k;
};

template <class T>
Gemm<T> problem(const Sizes& z, Matrix<T> a, Matrix<T> b, Matrix<T> c) {
  Gemm<T> g;
  g.m = z.m;
  g.n = z.n;
  g.k = z.k;
  g.a = {a.data, a.row_stride, a.col_stride};
  g.b = {b.data, b.col_stride, b.row_stride};
  g.c = {c.data, c.row_stride, c.col_stride};
  return g;
}

// bias: n values, contiguous, or nullptr.
template <class S>
bool product(const Sizes& z, Matrix<S> a, Matrix<S> b, Matrix<S> c, const compute_t<S>* bias,
             const ElementOp* then) {
  Gemm<S> g = problem(z, a, b, c);
  g.then = then;
  return gemm_stored(g, bias);
}

// Integers wrap: the sums are unsigned and at least as wide as int.
template <class S>
bool integer_product(const Sizes& z, Matrix<S> a, Matrix<S> b, Matrix<S> c) {
  using W = std::conditional_t<(sizeof(S) < 4), uint32_t, std::make_unsigned_t<S>>;
  constexpr int64_t kCols = 512;  // sums in the first-level cache
  const int64_t per_row = std::max<int64_t>(1, z.n * z.k);
  parallel_for(z.m, std::max<int64_t>(1, kSmall / per_row), [&](int64_t begin, int64_t end) {
    W sums[kCols];
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < z.n; j += kCols) {
        const int64_t cols = std::min(kCols, z.n - j);
        std::fill(sums, sums + cols, W(0));
        for (int64_t p = 0; p < z.k; ++p) {
          const W x = W(a.data[i * a.row_stride + p * a.col_stride]);
          const S* row = b.data + p * b.row_stride + j * b.col_stride;
          if (b.col_stride == 1)
            for (int64_t q = 0; q < cols; ++q) sums[q] += x * W(row[q]);
          else
            for (int64_t q = 0; q < cols; ++q) sums[q] += x * W(row[q * b.col_stride]);
        }
        for (int64_t q = 0; q < cols; ++q)
          c.data[i * c.row_stride + (j + q) * c.col_stride] = S(sums[q]);
      }
  });
  return true;
}

struct MatmulParams {
  const char* op;
  int way;         // see ladder.h
  ElementOp then;  // what the result goes through in a plan; without kernel: nothing
};

// The batch dimensions, fewest first: those that only add rows to one product are merged into m.
struct Batch {
  int ndim = 0;
  int64_t count = 1, shape[kMaxDims], strides[3][kMaxDims], row_strides[3];

  Batch(const View* views, Sizes* z) {
    const int rows = views[0].ndim - 2;
    for (int k = 0; k < 3; ++k) row_strides[k] = views[k].strides[rows];
    bool merging = true;
    for (int i = rows - 1; i >= 0; --i) {
      const int64_t size = views[0].shape[i];
      if (size == 1) continue;
      merging = merging && views[2].strides[i] == 0;
      for (int k = 0; k < 2; ++k) {
        if (merging && z->m == 1) row_strides[k] = views[k].strides[i];
        merging = merging && views[k].strides[i] == row_strides[k] * z->m;
      }
      if (merging) {
        z->m *= size;
        continue;
      }
      shape[ndim] = size;
      for (int k = 0; k < 3; ++k) strides[k][ndim] = views[k].strides[i];
      ++ndim;
      count *= size;
    }
  }
  void offsets(int64_t index, int64_t* out) const {
    out[0] = out[1] = out[2] = 0;
    for (int i = 0; i < ndim; ++i) {
      for (int k = 0; k < 3; ++k) out[k] += index % shape[i] * strides[k][i];
      index /= shape[i];
    }
  }
};

// views: c (..., m, n), a (..., m, k) and b (..., k, n) broadcast to c's batch; bias (n,), whose
// data is nullptr where there is none.
void matmul_kernel(const MatmulParams& params, const View* views) {
  const View &c = views[0], &a = views[1], &b = views[2], &bias = views[3];
  const int last = c.ndim - 1;
  if (c.size() == 0) return;
  Sizes z{c.shape[last - 1], c.shape[last], a.shape[last]};
  const Batch batch(views, &z);
  std::atomic<bool> ok{true};
  const bool after = params.then.kernel != nullptr && is_half(c.dtype);  // blocks are of float32
  const ElementOp* const then = params.then.kernel == nullptr || after ? nullptr : &params.then;
  const auto typed = [&](auto tag) {
    using S = typename decltype(tag)::type;
    using T = compute_t<S>;
    const Scratch scratch(bias.data != nullptr ? z.n * int64_t(sizeof(T)) : 0);
    if (!scratch) return ok.store(false);
    T* const addend = bias.data != nullptr ? scratch.at<T>(0) : nullptr;
    if (addend != nullptr)
      for (int64_t j = 0; j < z.n; ++j)
        addend[j] = compute<S>::load(*reinterpret_cast<S*>(bias.data + j * bias.strides[0]));
    const auto matrix = [&](int which, const int64_t* offset) {
      const View& v = views[which];
      const int64_t item = sizeof(S);
      const int64_t row_stride = which < 2 ? batch.row_strides[which] : v.strides[last - 1];
      return Matrix<S>{reinterpret_cast<S*>(v.data + offset[which]), row_stride / item,
                       v.strides[last] / item};
    };
    if constexpr (std::is_floating_point_v<S>) {
      const int64_t first[3] = {0, 0, 0};
      if (params.way != 0)
        check_way(params.op, params.way,
                  problem(z, matrix(1, first), matrix(2, first), matrix(0, first)));
    }
    const auto some = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        int64_t offset[3];
        batch.offsets(i, offset);
        const Matrix<S> to = matrix(0, offset), x = matrix(1, offset), y = matrix(2, offset);
        bool done;
        if constexpr (std::is_integral_v<S>)
          done = integer_product(z, x, y, to);
        else if constexpr (std::is_floating_point_v<S>)
          done = params.way == 0 ? product(z, x, y, to, addend, then)
                                 : multiply(problem(z, x, y, to), params.way);
        else
          done = product(z, x, y, to, addend, then);
        if (!done) ok.store(false);
      }
    };
    const double each = double(z.m) * double(z.n) * double(std::max<int64_t>(z.k, 1));
    if (each < kSmall || batch.count >= 4 * num_threads())
      parallel_for(batch.count, int64_t(double(kSmall) / 4 / each) + 1, some);
    else
      some(0, batch.count);
  };
  if (is_float(c.dtype))
    dispatch_float(params.op, c.dtype, typed);
  else
    dispatch_integer(params.op, c.dtype, typed);
  check(ok.load(), ErrorKind::memory, params.op, ": no memory for the packed operands of a ",
        shape_of(a), " and b ", shape_of(b));
  if (after) apply_then(params.then, c);
}

bool fold_next(const Node& call, const Node& next, int) {
  auto& p = *reinterpret_cast<MatmulParams*>(call.params);
  const View& a = call.views[1];
  // Of no terms the bias is stored as it is, denormals too.
  if (p.way != 0 || a.shape[a.ndim - 1] == 0 || !fold_function(next, &p.then)) return false;
  call.put(0, call.views[0], next, 0);
  return true;
}

// Runs it, and says in a plan which way it goes.
void run_matmul(const MatmulParams& params, const View (&views)[4], int64_t work) {
  if (recording != nullptr && views[0].size() > 0) {
    const View &c = views[0], &a = views[1], &b = views[2];
    const int last = c.ndim - 1;
    Sizes z{c.shape[last - 1], c.shape[last], a.shape[last]};
    const Batch batch(views, &z);
    const auto name = [&](auto number) {
      using T = decltype(number);
      const auto matrix = [&](const View& v, int64_t row_stride) {
        const int64_t item = sizeof(T);
        return Matrix<T>{v.ptr<T>(), row_stride / item, v.strides[last] / item};
      };
      return way_name(
          gemm_way(problem(z, matrix(a, batch.row_strides[1]), matrix(b, b.strides[last - 1]),
                           matrix(c, batch.row_strides[0]))));
    };
    record_algorithm(params.way != 0         ? way_name(params.way)
                     : c.dtype == DType::f32 ? name(float())
                     : c.dtype == DType::f64 ? name(double())
                     : is_half(c.dtype)      ? "widened"
                                             : "integers");
  }
  run(matmul_kernel, params, views, work);
}

bool layer_axes(const void* params, const View* v, int* result, int* weight) {
  *result = *weight = 1;
  const auto& p = *static_cast<const MatmulParams*>(params);
  return v[0].ndim == 2 && p.way == 0 && p.then.kernel == nullptr;  // with it: not linear
}

// Stretched dimensions have no memory of their own, so that sizes may be far beyond it.
void check_terms(const char* op, const View& a, int64_t rows, int64_t cols, int64_t terms) {
  int64_t n;
  check(!__builtin_mul_overflow(std::max(rows, cols), terms, &n) && n < int64_t(1) << 58,
        ErrorKind::memory, op, ": ", terms, " terms per element (a ", shape_of(a),
        ") are too many");
}

int64_t work_of(const View& c, int64_t k) {
  return int64_t(std::min(1e18, double(c.size()) * double(std::max<int64_t>(k, 1))));
}

[[noreturn]] void fail_inner(const View& a, const View& b) {
  const int64_t k = a.shape[a.ndim - 1], rows = b.shape[b.ndim - 2];
  const char* repair = b.shape[b.ndim - 1] == k      ? "; other.mT would fit"
                       : a.shape[a.ndim - 2] == rows ? "; input.mT would fit"
                                                     : "";
  fail(ErrorKind::shape, "matmul: axis -1 of input ", shape_of(a), " has ", k,
       ", but axis -2 of other ", shape_of(b), " has ", rows, repair);
}

// A layer in front of which the axes of a sample were not made one is the usual mistake.
[[noreturn]] void fail_features(const View& x, const View& w) {
  int64_t sample = 1;
  bool wide = x.ndim > 2;
  for (int i = 1; i < x.ndim; ++i) wide &= !__builtin_mul_overflow(sample, x.shape[i], &sample);
  const int64_t have = x.shape[x.ndim - 1];
  std::ostringstream repair;
  if (wide && sample == w.shape[1])
    repair << "input.flatten(1)";
  else
    repair << "in_features=" << have;
  fail(ErrorKind::shape, "linear: weight ", shape_of(w), " expects ", w.shape[1],
       " features, but axis -1 of input ", shape_of(x), " has ", have, "; ", repair.str(),
       " would fit");
}

py::object matmul(py::handle a_array, py::handle b_array, const std::string& impl) {
  const View a = view_of(a_array, "matmul", "input"), b = view_of(b_array, "matmul", "other");
  check_same_dtype("matmul", a, "input", b, "other");
  check(a.dtype != DType::b1, ErrorKind::dtype, "matmul: not defined for bool");
  check(a.ndim >= 2 && b.ndim >= 2, ErrorKind::shape,
        "matmul: input and other must have at least 2 dimensions, got ", shape_of(a), " and ",
        shape_of(b));
  const int64_t m = a.shape[a.ndim - 2], k = a.shape[a.ndim - 1], n = b.shape[b.ndim - 1];
  if (b.shape[b.ndim - 2] != k) fail_inner(a, b);
  check_terms("matmul", a, m, n, k);
  const int way = impl.empty() ? 0 : way_of("matmul", impl);
  check(way == 0 || a.dtype == DType::f32 || a.dtype == DType::f64, ErrorKind::value,
        "matmul: impl='", impl, "' does not apply: it needs float32 or float64, got ",
        dtype_name(a.dtype));
  const int ndim = std::max(a.ndim, b.ndim);
  int64_t shape[kMaxDims];
  for (int i = 0; i < ndim - 2; ++i) {
    const int ia = i - (ndim - a.ndim), ib = i - (ndim - b.ndim);
    const int64_t x = ia < 0 ? 1 : a.shape[ia], y = ib < 0 ? 1 : b.shape[ib];
    check(x == y || x == 1 || y == 1, ErrorKind::shape, "matmul: batch axis ", i - ndim,
          " of input ", shape_of(a), " and other ", shape_of(b), " does not broadcast: ", x,
          " and ", y);
    shape[i] = x == 1 ? y : x;
  }
  shape[ndim - 2] = m;
  shape[ndim - 1] = n;
  Output out = empty("matmul", a.dtype, ndim, shape);
  shape[ndim - 1] = k;
  const View wide_a = broadcast_to(a, ndim, shape);
  shape[ndim - 2] = k;
  shape[ndim - 1] = n;
  const View wide_b = broadcast_to(b, ndim, shape);
  run_matmul({"matmul", way, {}}, {out.view, wide_a, wide_b, View{}}, work_of(out.view, k));
  return out.array;
}

// v with a leading axis of length 1.
View with_row(const View& v) {
  View r = v;
  r.ndim = 2;
  r.shape[1] = v.shape[0];
  r.strides[1] = v.strides[0];
  r.shape[0] = 1;
  r.strides[0] = 0;
  return r;
}

py::object linear(py::handle x_array, py::handle w_array, py::handle bias_array) {
  const View x = view_of(x_array, "linear", "input"), w = view_of(w_array, "linear", "weight");
  check_float("linear", x, "input");
  check_same_dtype("linear", x, "input", w, "weight");
  check(x.ndim >= 1 && w.ndim == 2, ErrorKind::shape,
        "linear: expects input (..., features) and weight (outputs, features), got input ",
        shape_of(x), " and weight ", shape_of(w));
  const int64_t k = x.shape[x.ndim - 1], n = w.shape[0];
  if (w.shape[1] != k) fail_features(x, w);
  View bias;
  if (!bias_array.is_none()) {
    bias = view_of(bias_array, "linear", "bias");
    check_same_dtype("linear", x, "input", bias, "bias");
    check(bias.ndim == 1 && bias.shape[0] == n, ErrorKind::shape, "linear: bias must have shape (",
          n, ",), got ", shape_of(bias));
  }
  check_terms("linear", x, x.ndim > 1 ? x.shape[x.ndim - 2] : 1, n, k);
  int64_t shape[kMaxDims];
  std::copy(x.shape, x.shape + x.ndim - 1, shape);
  shape[x.ndim - 1] = n;
  Output out = empty("linear", x.dtype, x.ndim, shape);
  const View rows = x.ndim == 1 ? with_row(x) : x;
  View turned = w;
  std::swap(turned.shape[0], turned.shape[1]);
  std::swap(turned.strides[0], turned.strides[1]);
  std::copy(rows.shape, rows.shape + rows.ndim - 2, shape);
  shape[rows.ndim - 2] = k;
  shape[rows.ndim - 1] = n;
  run_matmul({"linear", 0, {}},
             {x.ndim == 1 ? with_row(out.view) : out.view, rows,
              broadcast_to(turned, rows.ndim, shape), bias},
             work_of(out.view, k));
  return out.array;
}

}  // namespace

void bind_matmul(py::module_& m) {
  register_fold_next(reinterpret_cast<void (*)()>(matmul_kernel), 0, fold_next);
  register_layer(reinterpret_cast<void (*)()>(matmul_kernel), layer_axes);
  m.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("impl") = "");
  m.def("linear", &linear, py::arg("x"), py::arg("w"), py::arg("bias"));
}

}  // namespace tg

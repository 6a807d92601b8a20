// softmax(scale q k^T + mask) v for every batch entry and head, and its gradient. The scores exist
// for a block of queries at a time; the backward pass computes them again instead of keeping them,
// and draws the numbers of dropout again.
// Source: Rabe and Staats 2021, Dao et al. 2022.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/parallel.h"
#include "core/run.h"
#include "cpu/gemm.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/random_kernels.h"
#include "cpu/isa/softmax_kernels.h"
#include "ops/copy/prepare.h"

namespace tg {
namespace {

constexpr int64_t kQueries = 64;  // rows of scores in memory at a time

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

// As the dropout kernel on all probabilities (B, H, T, S), row major.
struct Dropout {
  double p;
  DropNumbers numbers;
  PhiloxStream stream;
};

struct Params {
  int64_t batch, heads, queries, keys, width, values;
  double scale;
  bool causal;
  Dropout dropout;
  int64_t blocks() const { return (queries - 1) / kQueries + 1; }
  // Elements a block of queries needs: scaled queries, scores, gradients of the scores, and a row
  // of factors.
  int64_t scratch(int panels) const { return kQueries * (width + panels * keys) + keys; }
  // How many keys query i sees.
  int64_t seen(int64_t i) const { return causal ? std::min(i + 1, keys) : keys; }
};

// One matrix of a (B, H, rows, columns) array.
template <class T>
struct Matrix {
  T* data;
  int64_t row, column;  // steps in elements
  Matrix(const View& v, int64_t b, int64_t h)
      : data(reinterpret_cast<T*>(v.data + b * v.strides[0] + h * v.strides[1])),
        row(v.strides[2] / int64_t(sizeof(T))),
        column(v.strides[3] / int64_t(sizeof(T))) {}
  Matrix(T* d, int64_t r, int64_t c) : data(d), row(r), column(c) {}
  Matrix from(int64_t i) const { return {data + i * row, row, column}; }
  Matrix transposed() const { return {data, column, row}; }
};

// C (m x n) = or += A B.
template <class T>
bool product(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, Matrix<T> c,
             bool accumulate = false) {
  Gemm<T> g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a.data = a.data;
  g.a.lane_stride = a.row;
  g.a.k_stride = a.column;
  g.b.data = b.data;
  g.b.lane_stride = b.column;
  g.b.k_stride = b.row;
  g.c.data = c.data;
  g.c.row_stride = c.row;
  g.c.col_stride = c.column;
  g.accumulate = accumulate;
  return gemm(g);
}

// The probabilities of the queries [first, first + n): p (n x keys), scaled (n x width).
template <class T>
bool probabilities(const Params& s, const View& q, const View& k, const View& mask, int64_t b,
                   int64_t h, int64_t first, int64_t n, T* scaled, T* p) {
  const Matrix<T> from = Matrix<T>(q, b, h).from(first);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < s.width; ++j)
      scaled[i * s.width + j] = from.data[i * from.row + j * from.column] * T(s.scale);
  const int64_t most = s.seen(first + n - 1);
  const Matrix<T> scores(p, s.keys, 1);
  if (!product(n, most, s.width, Matrix<T>(scaled, s.width, 1), Matrix<T>(k, b, h).transposed(),
               scores))
    return false;
  for (int64_t i = 0; i < n; ++i) {
    T* row = p + i * s.keys;
    const int64_t seen = s.seen(first + i);
    bool any = true;
    if (mask.data != nullptr) {
      const Matrix<T> m = Matrix<T>(mask, b, h).from(first + i);
      any = false;
      for (int64_t j = 0; j < seen; ++j) {
        row[j] += m.data[j * m.column];
        any |= !(row[j] == -T(__builtin_inf()));
      }
    }
    // A query that sees nothing gets nothing.
    if (any && seen > 0)
      rows<T>().softmax(seen, row, row);
    else
      std::fill(row, row + seen, T(0));
    std::fill(row + seen, row + s.keys, T(0));
  }
  return true;
}

// What dropout multiplies the probabilities of query i by: those of the keys [0, n).
template <class T>
void draw(const Params& s, int64_t b, int64_t h, int64_t i, int64_t n, T* factors) {
  const Dropout& d = s.dropout;
  const uint64_t row = uint64_t(b * s.heads + h) * uint64_t(s.queries) + uint64_t(i);
  const uint64_t first = row * uint64_t(s.keys);
  const PhiloxStream stream{d.stream.key, d.stream.block + first / 4};
  if constexpr (sizeof(T) == 4)
    kernels().random->factors_f32(stream, d.numbers, int(first % 4), factors, n);
  else
    kernels().random->factors_f64(stream, d.numbers, int(first % 4), factors, n);
}

// What is dropped is zero even if it was not finite.
template <class T>
T kept(T x, T factor) {
  const T y = x * factor;
  return factor == T(0) ? T(0) : y;
}
template <class T>
void multiply(int64_t n, const T* __restrict factors, T* __restrict x) {
  constexpr int kBlock = 16;  // a known count makes SIMD code of it
  int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock)
    for (int i = 0; i < kBlock; ++i) x[j + i] = kept(x[j + i], factors[j + i]);
  for (; j < n; ++j) x[j] = kept(x[j], factors[j]);
}

// Whether every unit of work had the memory it needs.
struct Reports {
  std::vector<char> ok;
  explicit Reports(int64_t n) : ok(size_t(n), 1) {}
  void require(const char* op) const {
    check(std::all_of(ok.begin(), ok.end(), [](char c) { return c != 0; }), ErrorKind::memory, op,
          ": no memory for a block of scores");
  }
};

// views: q, k, v, mask, y.
void forward_kernel(const Params& s, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t blocks = s.blocks(), units = s.scratch(1);
    Reports reports(s.batch * s.heads * blocks);
    char* const ok = reports.ok.data();
    parallel_for(s.batch * s.heads * blocks, 1, [&](int64_t begin, int64_t end) {
      const Scratch memory(units * int64_t(sizeof(T)));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % blocks * kQueries, h = i / blocks % s.heads;
        const int64_t b = i / blocks / s.heads, n = std::min(kQueries, s.queries - first);
        ok[i] = bool(memory);
        if (!ok[i]) continue;
        T *scaled = memory.at<T>(0), *p = scaled + kQueries * s.width, *f = p + kQueries * s.keys;
        ok[i] = probabilities(s, v[0], v[1], v[3], b, h, first, n, scaled, p);
        for (int64_t r = 0; ok[i] && s.dropout.p > 0 && r < n; ++r) {
          draw(s, b, h, first + r, s.seen(first + r), f);
          multiply(s.seen(first + r), f, p + r * s.keys);
        }
        ok[i] = ok[i] && product(n, s.values, s.seen(first + n - 1), Matrix<T>(p, s.keys, 1),
                                 Matrix<T>(v[2], b, h), Matrix<T>(v[4], b, h).from(first));
      }
    });
    reports.require("attention");
  });
}

// Zeros from row `first` on.
template <class T>
void clear(const View& y, int64_t b, int64_t h, int64_t first) {
  const Matrix<T> m(y, b, h);
  for (int64_t i = first; i < y.shape[2]; ++i)
    for (int64_t j = 0; j < y.shape[3]; ++j) m.data[i * m.row + j * m.column] = T(0);
}

// views: g, q, k, v, mask, gq, gk, gv.
void backward_kernel(const Params& s, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Reports reports(s.batch * s.heads);
    char* const ok = reports.ok.data();
    parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
      const Scratch memory(s.scratch(2) * int64_t(sizeof(T)));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t h = i % s.heads, b = i / s.heads;
        // The first block of queries writes what it sees, the others add to that.
        const int64_t written = s.queries > 0 ? s.seen(std::min(kQueries, s.queries) - 1) : 0;
        clear<T>(v[6], b, h, written);
        clear<T>(v[7], b, h, written);
        ok[i] = bool(memory);
        if (!ok[i]) continue;
        T *scaled = memory.at<T>(0), *p = scaled + kQueries * s.width, *d = p + kQueries * s.keys;
        T* f = d + kQueries * s.keys;
        const Matrix<T> pm(p, s.keys, 1), dm(d, s.keys, 1), sm(scaled, s.width, 1);
        const Matrix<T> key(v[2], b, h), value(v[3], b, h), gk(v[6], b, h), gv(v[7], b, h);
        for (int64_t first = 0; first < s.queries && ok[i]; first += kQueries) {
          const int64_t n = std::min(kQueries, s.queries - first), seen = s.seen(first + n - 1);
          const Matrix<T> g = Matrix<T>(v[0], b, h).from(first);
          const Matrix<T> gq = Matrix<T>(v[5], b, h).from(first);
          ok[i] = probabilities(s, v[1], v[2], v[4], b, h, first, n, scaled, p) &&
                  product(n, seen, s.values, g, value.transposed(), dm);
          if (!ok[i]) break;
          for (int64_t r = 0; r < n && seen > 0; ++r) {
            T *dr = d + r * s.keys, *pr = p + r * s.keys;
            if (s.dropout.p > 0) {
              draw(s, b, h, first + r, seen, f);
              multiply(seen, f, dr);
            }
            rows<T>().softmax_grad(seen, dr, pr, dr);
            if (s.dropout.p > 0) multiply(seen, f, pr);
          }
          ok[i] = product(seen, s.values, n, pm.transposed(), g, gv, first > 0) &&
                  product(n, s.width, seen, dm, key, gq) &&
                  product(seen, s.width, n, dm.transposed(), sm, gk, first > 0);
          for (int64_t r = 0; r < n; ++r)
            for (int64_t c = 0; c < s.width; ++c) gq.data[r * gq.row + c * gq.column] *= T(s.scale);
        }
      }
    });
    reports.require("attention_grad");
  });
}

// The operands, checked, in the compute dtype; the half types are copied.
struct Operands {
  const char* op;
  Params p{};
  DType stored, dtype;
  Keep keep;
  View q, k, v, mask;

  Operands(const char* name, py::handle qa, py::handle ka, py::handle va, py::handle ma,
           double scale, bool causal, double dropped, uint64_t key, uint64_t offset)
      : op(name) {
    check(dropped >= 0 && dropped <= 1, ErrorKind::value, op, ": expected p in [0, 1], got ",
          dropped);
    q = view_of(qa, op, "q");
    check_float(op, q, "q");
    check(q.ndim == 4, ErrorKind::shape, op, ": q expects shape (B, H, T, D), got ", shape_of(q));
    stored = q.dtype;
    dtype = compute_dtype(stored);
    const View kv = view_of(ka, op, "k"), vv = view_of(va, op, "v");
    const int64_t anything = -1;
    expect("k", kv, {q.shape[0], q.shape[1], anything, q.shape[3]});
    expect("v", vv, {q.shape[0], q.shape[1], kv.shape[2], anything});
    p.batch = q.shape[0];
    p.heads = q.shape[1];
    p.queries = q.shape[2];
    p.keys = kv.shape[2];
    p.width = q.shape[3];
    p.values = vv.shape[3];
    p.scale = scale;
    p.causal = causal;
    const double kept_scale = dropped < 1 ? 1 / (1 - dropped) : 0;
    p.dropout = {dropped, {uint32_t(std::ceil(dropped * 0x1p24)), kept_scale}, {key, offset}};
    q = ready("q", qa);
    k = ready("k", ka);
    v = ready("v", va);
    if (!ma.is_none()) {
      expect("mask", view_of(ma, op, "mask"), {p.batch, p.heads, p.queries, p.keys});
      mask = ready("mask", ma);
    }
  }

  void expect(const char* name, const View& x, std::initializer_list<int64_t> shape) const {
    check(x.dtype == stored, ErrorKind::dtype, op, ": ", name, " has dtype ", dtype_name(x.dtype),
          ", but q has ", dtype_name(stored));
    bool fits = x.ndim == 4;
    int i = 0;
    for (const int64_t n : shape) {
      fits = fits && (n < 0 || x.shape[i] == n);
      ++i;
    }
    check(fits, ErrorKind::shape, op, ": ", name, " of shape ", shape_of(x),
          " does not fit q of shape ", shape_of(q));
  }

  View ready(const char* name, py::handle h) {
    return is_half(stored) ? prepared(op, name, h, dtype, keep) : view_of(h, op, name);
  }

  int64_t pairs() const { return p.batch * p.heads; }
  int64_t work() const { return pairs() * p.queries * p.keys * (p.width + p.values + 8); }
};

void check_scratch(const Operands& o, int panels) {
  const int64_t shape[3] = {kQueries, o.p.keys, panels}, wide[2] = {kQueries, o.p.width};
  checked_bytes(o.op, shape, 3, 8);
  checked_bytes(o.op, wide, 2, 8);
}

py::object attention(py::handle q, py::handle k, py::handle v, py::handle mask, double scale,
                     bool causal, double p, uint64_t key, uint64_t offset) {
  Operands o("attention", q, k, v, mask, scale, causal, p, key, offset);
  View like = o.q;
  like.shape[3] = o.p.values;
  const Output y = empty_like(o.op, o.dtype, like);
  if (y.view.size() == 0) return finished(o.op, y, o.stored);
  check_scratch(o, 1);
  if (p > 0) record_stream(offsetof(Params, dropout) + offsetof(Dropout, stream));
  run(forward_kernel, o.p, {o.q, o.k, o.v, o.mask, y.view}, o.work());
  return finished(o.op, y, o.stored);
}

py::tuple attention_grad(py::handle g, py::handle q, py::handle k, py::handle v, py::handle mask,
                         double scale, bool causal, double p, uint64_t key, uint64_t offset) {
  Operands o("attention_grad", q, k, v, mask, scale, causal, p, key, offset);
  o.expect("g", view_of(g, o.op, "g"), {o.p.batch, o.p.heads, o.p.queries, o.p.values});
  const View gin = o.ready("g", g);
  const Output gq = empty_like(o.op, o.dtype, o.q), gk = empty_like(o.op, o.dtype, o.k);
  const Output gv = empty_like(o.op, o.dtype, o.v);
  const int64_t outputs = gq.view.size() + gk.view.size() + gv.view.size();
  check_scratch(o, 2);
  if (outputs == 0)
    return py::make_tuple(finished(o.op, gq, o.stored), finished(o.op, gk, o.stored),
                          finished(o.op, gv, o.stored));
  if (p > 0) record_stream(offsetof(Params, dropout) + offsetof(Dropout, stream));
  run(backward_kernel, o.p, {gin, o.q, o.k, o.v, o.mask, gq.view, gk.view, gv.view}, 3 * o.work());
  return py::make_tuple(finished(o.op, gq, o.stored), finished(o.op, gk, o.stored),
                        finished(o.op, gv, o.stored));
}

}  // namespace

void bind_attention(py::module_& m) {
  using py::arg;
  m.def("attention", &attention, arg("q"), arg("k"), arg("v"), arg("mask"), arg("scale"),
        arg("causal"), arg("p") = 0.0, arg("key") = 0, arg("offset") = 0);
  m.def("attention_grad", &attention_grad, arg("g"), arg("q"), arg("k"), arg("v"), arg("mask"),
        arg("scale"), arg("causal"), arg("p") = 0.0, arg("key") = 0, arg("offset") = 0);
}

}  // namespace tg

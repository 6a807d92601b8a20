// Recurrent layers over whole sequences: per step one matrix product, then the gates row by row.
// The products of the input with its weight are the caller's, one for all steps.
#include <algorithm>

#include "core/args.h"
#include "core/parallel.h"
#include "core/run.h"
#include "cpu/gemm.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/recurrent_kernels.h"
#include "ops/copy/prepare.h"

namespace tg {
namespace {

enum Op { kTanh, kRelu, kLstm, kGru, kOps };
constexpr int kGates[kOps] = {1, 1, 4, 3};
constexpr int64_t kGrain = 512;  // hidden units a thread should at least take

template <class T>
const RecurrentRows<T>& rows();
template <>
const RecurrentRows<float>& rows<float>() {
  return kernels().recurrent->f32;
}
template <>
const RecurrentRows<double>& rows<double>() {
  return kernels().recurrent->f64;
}

struct Params {
  int op;
  bool reverse;
  int64_t steps, batch, units;
  int64_t gates() const { return kGates[op] * units; }
  int64_t grain() const { return std::max<int64_t>(1, kGrain / std::max<int64_t>(units, 1)); }
  // The time of step s and of the step before it; -1: the initial state.
  int64_t at(int64_t s) const { return reverse ? steps - 1 - s : s; }
  int64_t before(int64_t s) const { return s == 0 ? -1 : at(s - 1); }
};

// Steps of one sequence: block t of an array whose blocks have `size` elements, or the initial
// state.
template <class T>
T* block(T* base, T* initial, int64_t t, int64_t size) {
  return t < 0 ? initial : base + t * size;
}

// C (batch x n) = or += A (batch x k) B, B[p][j] at b[p * b_step + j * b_lane].
template <class T>
void product(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t b_lane,
             int64_t b_step, T* c, bool accumulate, const T* bias, bool* memory) {
  Gemm<T> g;
  g.m = m;
  g.n = n;
  g.k = k;
  g.a.data = a;
  g.a.lane_stride = k;
  g.a.k_stride = 1;
  g.b.data = b;
  g.b.lane_stride = b_lane;
  g.b.k_stride = b_step;
  g.c.data = c;
  g.c.row_stride = n;
  g.c.col_stride = 1;
  g.accumulate = accumulate;
  g.col_bias = bias;
  *memory &= gemm(g);
}

// views: gates, h0, c0, w, bias, lengths, h, c, saved, hidden (a step's sums), ok.
void forward_kernel(const Params& p, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RecurrentRows<T>& f = rows<T>();
    const int64_t n = p.units, size = p.batch * n, wide = p.batch * p.gates();
    const int64_t* lengths = v[5].ptr<int64_t>();
    const T* gates = v[0].ptr<T>();
    T *h = v[6].ptr<T>(), *c = v[7].ptr<T>(), *saved = v[8].ptr<T>(), *hidden = v[9].ptr<T>();
    bool memory = true;
    for (int64_t s = 0; s < p.steps; ++s) {
      const int64_t t = p.at(s), u = p.before(s);
      const T* before = block<const T>(h, v[1].ptr<T>(), u, size);
      const T* c_before = block<const T>(c, v[2].ptr<T>(), u, size);
      T* sums = p.op == kGru ? hidden : p.op == kLstm ? saved + t * wide : h + t * size;
      if (p.op != kGru) std::copy(gates + t * wide, gates + (t + 1) * wide, sums);
      product(p.batch, p.gates(), n, before, v[3].ptr<T>(), n, int64_t(1), sums, p.op != kGru,
              p.op == kGru ? v[4].ptr<T>() : nullptr, &memory);
      parallel_for(p.batch, p.grain(), [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          T* out = h + t * size + b * n;
          const int64_t at = b * p.gates(), own = (t * p.batch + b) * 4 * n;
          if (lengths != nullptr && t >= lengths[b]) {
            std::copy(before + b * n, before + (b + 1) * n, out);
            if (p.op == kLstm)
              std::copy(c_before + b * n, c_before + (b + 1) * n, c + t * size + b * n);
            if (p.op >= kLstm) std::fill(saved + own, saved + own + 4 * n, T(0));
          } else if (p.op == kTanh) {
            f.tanh(n, out);
          } else if (p.op == kRelu) {
            f.relu(n, out);
          } else if (p.op == kLstm) {
            f.lstm(n, sums + at, c_before + b * n, c + t * size + b * n, out);
          } else {
            f.gru(n, gates + t * wide + at, sums + at, before + b * n, saved + own, out);
          }
        }
      });
    }
    *v[10].ptr<bool>() = memory;
  });
}

// views: gh, gc, h, c, saved, h0, c0, w, lengths, ggates, ghidden, dh, dc, ok. dh and dc end as the
// gradients of the initial state.
void backward_kernel(const Params& p, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RecurrentRows<T>& f = rows<T>();
    const int64_t n = p.units, size = p.batch * n, wide = p.batch * p.gates();
    const int64_t* lengths = v[8].ptr<int64_t>();
    const T *gh = v[0].ptr<T>(), *h = v[2].ptr<T>(), *c = v[3].ptr<T>(), *saved = v[4].ptr<T>();
    T *ggates = v[9].ptr<T>(), *ghidden = v[10].ptr<T>(), *dh = v[11].ptr<T>(),
      *dc = v[12].ptr<T>();
    std::fill(dh, dh + size, T(0));
    if (p.op == kLstm) {
      const T* gc = v[1].ptr<T>();
      gc == nullptr ? std::fill(dc, dc + size, T(0)) : void(std::copy(gc, gc + size, dc));
    }
    bool memory = true;
    for (int64_t s = size == 0 ? -1 : p.steps - 1; s >= 0; --s) {
      const int64_t t = p.at(s), u = p.before(s);
      const T* before = block<const T>(h, v[5].ptr<T>(), u, size);
      const T* c_before = block<const T>(c, v[6].ptr<T>(), u, size);
      T* g = ggates + t * wide;
      T* hidden = p.op == kGru ? ghidden + t * wide : g;
      parallel_for(p.batch, p.grain(), [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          const int64_t at = b * p.gates(), own = (t * p.batch + b) * 4 * n;
          const T* out = h + t * size + b * n;
          T* d = dh + b * n;
          for (int64_t i = 0; i < n; ++i) d[i] += gh[t * size + b * n + i];
          if (lengths != nullptr && t >= lengths[b]) {
            std::fill(g + at, g + at + p.gates(), T(0));
            std::fill(hidden + at, hidden + at + p.gates(), T(0));
            continue;
          }
          if (p.op == kGru) {
            f.gru_grad(n, saved + own, before + b * n, d, g + at, hidden + at);
            continue;
          }
          if (p.op == kTanh) f.tanh_grad(n, out, d, g + at);
          if (p.op == kRelu) f.relu_grad(n, out, d, g + at);
          if (p.op == kLstm)
            f.lstm_grad(n, saved + own, c_before + b * n, c + t * size + b * n, d, dc + b * n,
                        g + at);
          std::fill(d, d + n, T(0));
        }
      });
      product(p.batch, n, p.gates(), hidden, v[7].ptr<T>(), int64_t(1), n, dh, true,
              static_cast<const T*>(nullptr), &memory);
    }
    *v[13].ptr<bool>() = memory;
  });
}

// The operands that both directions share, checked.
struct Layer {
  const char* op;
  Params p{};
  DType stored, dtype;
  Keep keep;
  View h0, c0, w, lengths;

  Layer(const char* name, int64_t kind, bool reverse, py::handle sequence, const char* what,
        int columns, py::handle h0_array, py::handle c0_array, py::handle w_array,
        py::handle lengths_array)
      : op(name) {
    check(kind >= 0 && kind < kOps, ErrorKind::value, op, ": unknown op ", kind);
    const View v = view_of(sequence, op, what);
    check_float(op, v, what);
    check(v.ndim == 3, ErrorKind::shape, op, ": ", what, " expects shape (T, N, ...), got ",
          shape_of(v));
    stored = v.dtype;
    dtype = compute_dtype(stored);
    p.op = int(kind);
    p.reverse = reverse;
    p.steps = v.shape[0];
    p.batch = v.shape[1];
    const View weight = view_of(w_array, op, "w");
    check(weight.ndim == 2 && weight.shape[0] == kGates[p.op] * weight.shape[1], ErrorKind::shape,
          op, ": w expects shape (", kGates[p.op], " H, H), got ", shape_of(weight));
    p.units = weight.shape[1];
    const int64_t expected = columns == 0 ? p.gates() : columns * p.units;
    check(v.shape[2] == expected, ErrorKind::shape, op, ": ", what, " expects shape (T, N, ",
          expected, ") for w of shape ", shape_of(weight), ", got ", shape_of(v));
    w = operand(w_array, "w", 2, weight.shape);
    const int64_t state[2] = {p.batch, p.units};
    h0 = operand(h0_array, "h0", 2, state);
    check(c0_array.is_none() != (p.op == kLstm), ErrorKind::value, op,
          ": c0 is for the LSTM, and for it alone");
    if (p.op == kLstm) c0 = operand(c0_array, "c0", 2, state);
    if (!lengths_array.is_none()) {
      const View l = view_of(lengths_array, op, "lengths");
      check(l.dtype == DType::i64 && l.ndim == 1 && l.shape[0] == p.batch, ErrorKind::shape, op,
            ": lengths expects ", p.batch, " int64, got ", dtype_name(l.dtype), " of shape ",
            shape_of(l));
      lengths = prepared_index(lengths_array);
    }
  }

  // A row-major array of the compute dtype and of this very shape.
  View operand(py::handle h, const char* name, int ndim, const int64_t* shape) {
    const View v = view_of(h, op, name);
    check(v.dtype == stored, ErrorKind::dtype, op, ": ", name, " has dtype ", dtype_name(v.dtype),
          ", but the sequence has ", dtype_name(stored));
    check(v.ndim == ndim && std::equal(shape, shape + ndim, v.shape), ErrorKind::shape, op, ": ",
          name, " expects shape ", Shape{shape, ndim}, ", got ", shape_of(v));
    return prepared(op, name, h, dtype, keep);
  }

  View prepared_index(py::handle h) {
    keep.push_back(py::module_::import("numpy").attr("ascontiguousarray")(h));
    return view_of(keep.back(), op, "lengths");
  }

  Output output(int64_t columns) const {
    const int64_t shape[3] = {p.steps, p.batch, columns};
    return empty(op, dtype, 3, shape);
  }
  Output state() const {
    const int64_t shape[2] = {p.batch, p.units};
    return empty(op, dtype, 2, shape);
  }
  int64_t work() const { return p.steps * p.batch * p.gates() * (p.units + 1); }
};

// Filled by the kernel: whether there was memory for the products.
struct Flag {
  bool ok = true;
  View view() {
    View v;
    v.data = reinterpret_cast<char*>(&ok);
    v.dtype = DType::b1;
    return v;
  }
  void require(const char* op) const {
    check(ok, ErrorKind::memory, op, ": no memory for the packed operands of a product");
  }
};

py::tuple recurrent(int64_t kind, py::handle gates, py::handle h0, py::handle c0, py::handle w,
                    py::handle bias, py::handle lengths, bool reverse) {
  const char* op = "recurrent";
  Layer layer(op, kind, reverse, gates, "gates", 0, h0, c0, w, lengths);
  const Params& p = layer.p;
  const View in = prepared(op, "gates", gates, layer.dtype, layer.keep);
  check(bias.is_none() || p.op == kGru, ErrorKind::value, op,
        ": bias is for the GRU; add it to gates elsewhere");
  View b;
  const int64_t wide = p.gates();
  if (!bias.is_none()) b = layer.operand(bias, "bias", 1, &wide);
  const Output h = layer.output(p.units);
  Output c, saved, hidden;
  if (p.op == kLstm) c = layer.output(p.units);
  if (p.op >= kLstm) saved = layer.output(4 * p.units);
  const int64_t step[2] = {p.batch, wide};
  if (p.op == kGru) hidden = empty(op, layer.dtype, 2, step);
  Flag flag;
  if (in.size() > 0) {
    run(forward_kernel, p,
        {in, layer.h0, layer.c0, layer.w, b, layer.lengths, h.view, c.view, saved.view, hidden.view,
         flag.view()},
        layer.work());
    flag.require(op);
  }
  const auto given = [&](const Output& y) {
    return y.array ? finished(op, y, layer.stored) : py::object(py::none());
  };
  return py::make_tuple(finished(op, h, layer.stored), given(c), given(saved));
}

py::tuple recurrent_grad(int64_t kind, py::handle gh, py::handle gc, py::handle h, py::handle c,
                         py::handle saved, py::handle h0, py::handle c0, py::handle w,
                         py::handle lengths, bool reverse) {
  const char* op = "recurrent_grad";
  Layer layer(op, kind, reverse, h, "h", 1, h0, c0, w, lengths);
  const Params& p = layer.p;
  const int64_t sequence[3] = {p.steps, p.batch, p.units};
  const int64_t kept[3] = {p.steps, p.batch, 4 * p.units};
  const View g = layer.operand(gh, "gh", 3, sequence), y = layer.operand(h, "h", 3, sequence);
  View cells, gates, gstate;
  if (p.op == kLstm) cells = layer.operand(c, "c", 3, sequence);
  if (p.op >= kLstm) gates = layer.operand(saved, "saved", 3, kept);
  if (p.op == kLstm && !gc.is_none()) gstate = layer.operand(gc, "gc", 2, sequence + 1);
  const Output ggates = layer.output(p.gates()), dh = layer.state();
  Output ghidden, dc;
  if (p.op == kGru) ghidden = layer.output(p.gates());
  if (p.op == kLstm) dc = layer.state();
  Flag flag;
  run(backward_kernel, p,
      {g, gstate, y, cells, gates, layer.h0, layer.c0, layer.w, layer.lengths, ggates.view,
       ghidden.view, dh.view, dc.view, flag.view()},
      2 * layer.work());
  flag.require(op);
  const auto given = [&](const Output& out) {
    return out.array ? finished(op, out, layer.stored) : py::object(py::none());
  };
  return py::make_tuple(finished(op, ggates, layer.stored), given(ghidden),
                        finished(op, dh, layer.stored), given(dc));
}

}  // namespace

void bind_recurrent(py::module_& m) {
  using py::arg;
  m.def("recurrent", &recurrent, arg("op"), arg("gates"), arg("h0"), arg("c0"), arg("w"),
        arg("bias"), arg("lengths"), arg("reverse"));
  m.def("recurrent_grad", &recurrent_grad, arg("op"), arg("gh"), arg("gc"), arg("h"), arg("c"),
        arg("saved"), arg("h0"), arg("c0"), arg("w"), arg("lengths"), arg("reverse"));
}

}  // namespace tg

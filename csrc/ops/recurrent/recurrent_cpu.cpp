// Recurrent layers over whole sequences. The recurrent weight is packed once; in every step the
// sums of a thread's units are followed at once by their gates and by the packing of the new
// states, which the next step multiplies.
#include <algorithm>

#include "core/args.h"
#include "core/rounds.h"
#include "core/run.h"
#include "cpu/gemm_packed.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/recurrent_kernels.h"
#include "ops/copy/prepare.h"

namespace tg {
namespace {

enum Op { kTanh, kRelu, kLstm, kGru, kOps };
constexpr int kGates[kOps] = {1, 1, 4, 3};
constexpr int64_t kGrain = 512;       // hidden units a thread should at least take
constexpr int64_t kMostSums = 65536;  // of a step that stay in the second-level cache,
constexpr int64_t kFewestRows = 56;   // unless the weight would serve fewer samples than this
constexpr double kPerThread = 1e6;    // multiply-adds worth waking a thread for
constexpr double kWait = 5e4;         // multiply-adds in the time of a barrier
constexpr double kNearBytes = 7e5;    // weights that stay in the second-level cache; one from there
constexpr double kNearRows = 2;       // costs as much as so many multiply-adds,
constexpr double kFarRows = 8;        // and one from farther away as much as these
constexpr double kNearWeights = 1e5;  // elements of both weights that are near for every part

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
  bool at_once;  // the sums of the input are one product for all steps
  int64_t steps, batch, units, features;
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
bool product(int64_t m, int64_t n, int64_t k, const T* a, const T* b, int64_t b_lane,
             int64_t b_step, T* c, bool accumulate, const T* bias) {
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
  return gemm(g);
}

void require(const char* op, bool memory) {
  check(memory, ErrorKind::memory, op, ": no memory for the packed operands of a product");
}

// How threads share a sequence. Parts of the batch need nothing of each other; parts of the units
// exchange their states, so that they wait for each other after every step.
struct Grid {
  int64_t down = 1, across = 1;  // parts of the batch and of the units
  int64_t panel;                 // parts of the units are multiples of this
};

template <class T>
Grid grid_of(const Params& p, int64_t panel) {
  Grid grid;
  grid.panel = panel;
  const int64_t panels = ceil_div(p.units, panel);
  const double per_row = double(p.gates()) * double(p.units);
  const double worth = double(p.steps) * double(p.batch) * per_row / kPerThread;
  const int64_t threads = int64_t(std::min(double(num_threads()), std::max(worth, 1.0)));
  double best = 0;
  for (int64_t across = 1; across <= std::min(threads, panels); ++across) {
    const int64_t down = std::min(threads / across, p.batch);
    const double weights = per_row * double(ceil_div(panels, across)) / double(panels);
    const double load = weights * sizeof(T) <= kNearBytes ? kNearRows : kFarRows;
    const double wait = across > 1 ? kWait : 0;
    const double cost = weights * (double(ceil_div(p.batch, down)) + load) + wait;
    if (best != 0 && cost >= best) continue;
    best = cost;
    grid.down = down;
    grid.across = across;
  }
  if (grid.across == 1)
    grid.down = std::max(grid.down, std::min(ceil_div(p.batch * p.gates(), kMostSums),
                                             ceil_div(p.batch, kFewestRows)));
  return grid;
}

// Calls body(round, rows, units) for every part and the rounds 0 to p.steps in order.
template <class F>
void walk(const Params& p, const Grid& grid, F body) {
  const int64_t panels = ceil_div(p.units, grid.panel), parts = grid.down * grid.across;
  const auto part = [&](int64_t round, int64_t i) {
    const Part some = part_of(panels, grid.across, i % grid.across);
    const int64_t first = some.begin * grid.panel;
    body(round, part_of(p.batch, grid.down, i / grid.across),
         Part{first, std::min(p.units, some.end() * grid.panel) - first});
  };
  if (grid.across > 1) return parallel_rounds(p.steps + 1, parts, part);
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t round = 0; round <= p.steps; ++round) part(round, i);
  });
}

// Fetches the columns `units` of every group of n columns of some rows, to be written.
template <class T>
void fetch_rows(const T* rows, int64_t count, int64_t row, Part units, int64_t n) {
  constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = i * row + units.begin; j < (i + 1) * row; j += n)
      for (int64_t k = 0; k < units.count; k += kLine) __builtin_prefetch(rows + j + k, 1);
}

// views: gates, h0, c0, w, bias, lengths, h, c, saved, hidden (a step's sums), x, w_in, b_in.
// gates, the sums of the input, has a memory of its own only for the GRU: elsewhere the recurrent
// sums are added in place. With p.at_once it holds all steps, else one.
void forward_kernel(const Params& p, const View* v) {
  dispatch_compute(v[6].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RecurrentRows<T>& f = rows<T>();
    const int64_t n = p.units, size = p.batch * n, row = p.gates(), wide = p.batch * row;
    const int64_t* lengths = v[5].ptr<int64_t>();
    const T *h0 = v[1].ptr<T>(), *w = v[3].ptr<T>(), *bias = v[4].ptr<T>();
    T *h = v[6].ptr<T>(), *c = v[7].ptr<T>(), *saved = v[8].ptr<T>(), *hidden = v[9].ptr<T>();
    const T *x = v[10].ptr<T>(), *w_in = v[11].ptr<T>(), *b_in = v[12].ptr<T>();
    const int64_t features = p.features;
    const auto sums_of = [&](int64_t t) {
      return p.op == kGru ? hidden : p.op == kLstm ? saved + t * wide : h + t * size;
    };
    const auto gates_of = [&](int64_t t) {
      return p.op != kGru ? sums_of(t) : v[0].ptr<T>() + (p.at_once ? t * wide : 0);
    };
    // The states of step s from its sums.
    const auto finish = [&](int64_t s, Part samples, Part units) {
      const int64_t t = p.at(s), u = p.before(s), k = units.begin, count = units.count;
      const T* before = block<const T>(h, h0, u, size) + k;
      const T* c_before = block<const T>(c, v[2].ptr<T>(), u, size) + k;
      for (int64_t b = samples.begin; b < samples.end(); ++b) {
        const int64_t at = b * row + k, own = (t * p.batch + b) * 4 * n + k;
        T *out = h + t * size + b * n + k, *sums = sums_of(t) + at;
        T* cell = p.op == kLstm ? c + t * size + b * n + k : nullptr;
        if (lengths != nullptr && t >= lengths[b]) {
          std::copy(before + b * n, before + b * n + count, out);
          if (p.op == kLstm) std::copy(c_before + b * n, c_before + b * n + count, cell);
          for (int64_t j = 0; j < 4 && p.op >= kLstm; ++j)
            std::fill(saved + own + j * n, saved + own + j * n + count, T(0));
        } else if (p.op == kTanh) {
          f.tanh(count, out);
        } else if (p.op == kRelu) {
          f.relu(count, out);
        } else if (p.op == kLstm) {
          f.lstm(count, n, sums, c_before + b * n, cell, out);
        } else {
          f.gru(count, n, gates_of(t) + at, sums, before + b * n, saved + own, out);
        }
      }
    };
    require("recurrent", !p.at_once || product(p.steps * p.batch, row, features, x, w_in, features,
                                               int64_t(1), gates_of(0), false, b_in));
    if (p.steps == 1) {  // packing the weight would not pay
      require("recurrent",
              product(p.batch, row, n, h0, w, n, int64_t(1), sums_of(0), p.op != kGru, bias));
      parallel_for(p.batch, p.grain(),
                   [&](int64_t begin, int64_t end) { finish(0, {begin, end - begin}, {0, n}); });
      return;
    }
    const PackedB<T> weight({w, n, 1}, kGates[p.op], n, n);
    const int64_t own = p.at_once ? 0 : features;  // of every sample, to be packed with its state
    const PackedB<T> weight_in({w_in, features, 1}, kGates[p.op], p.at_once ? 0 : n, own);
    const Scratch packed(bytes_of<T>(2 * p.batch * (n + own)));
    require("recurrent", weight && weight_in && packed);
    walk(p, grid_of<T>(p, weight.panel()), [&](int64_t round, Part samples, Part units) {
      const auto memory_of = [&](int64_t r) {
        return packed.at<T>(0) + ((r & 1) * p.batch + samples.begin) * (n + own);
      };
      const auto states = [&](int64_t r) { return PackedRows<T>{memory_of(r), samples.count, n}; };
      const auto inputs = [&](int64_t r) {
        return PackedRows<T>{memory_of(r) + samples.count * n, samples.count, own};
      };
      const int64_t s = round - 1, t = s < 0 ? 0 : p.at(s), first = samples.begin * row;
      const int64_t next = round < p.steps ? p.at(round) : t;
      // Tiles touch a few columns of every row; in order, memory is faster.
      fetch_rows(sums_of(next) + first, samples.count, row, units, n);
      for (int64_t gate = 0; gate < kGates[p.op] && s >= 0; ++gate)
        for (int64_t j = units.begin; j < units.end(); j += weight.panel()) {
          const int64_t col = gate * n + j, panel = j / weight.panel();
          T *const in = gates_of(t) + first + col, *const to = sums_of(t) + first + col;
          if (own > 0)
            weight_in.multiply(inputs(s), gate, panel, in, row, b_in == nullptr ? b_in : b_in + col,
                               0);
          const T* add = p.op != kGru ? to : bias == nullptr ? nullptr : bias + col;
          weight.multiply(states(s), gate, panel, to, row, add, p.op == kGru ? 0 : row);
        }
      if (s >= 0) finish(s, samples, units);
      if (round == p.steps) return;
      const T* now = (s < 0 ? h0 : h + t * size) + samples.begin * n;
      pack_rows(states(round), now + units.begin, n, units.begin, units.count);
      const int64_t from = own * units.begin / n, to = own * units.end() / n;
      const T* coming = x + (next * p.batch + samples.begin) * features;
      pack_rows(inputs(round), coming + from, features, from, to - from);
    });
  });
}

// views: gh, gc, h, c, saved, h0, c0, w, lengths, ggates, ghidden, dh, dc. dh and dc end as the
// gradients of the initial state.
void backward_kernel(const Params& p, const View* v) {
  dispatch_compute(v[0].dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const RecurrentRows<T>& f = rows<T>();
    const int64_t n = p.units, size = p.batch * n, row = p.gates(), wide = p.batch * row;
    const int64_t* lengths = v[8].ptr<int64_t>();
    const T *gh = v[0].ptr<T>(), *h = v[2].ptr<T>(), *c = v[3].ptr<T>(), *saved = v[4].ptr<T>();
    const T* w = v[7].ptr<T>();
    T *ggates = v[9].ptr<T>(), *dh = v[11].ptr<T>(), *dc = v[12].ptr<T>();
    T* const sums = p.op == kGru ? v[10].ptr<T>() : ggates;  // the gradients of the hidden sums
    std::fill(dh, dh + size, T(0));
    if (p.op == kLstm) {
      const T* gc = v[1].ptr<T>();
      gc == nullptr ? std::fill(dc, dc + size, T(0)) : void(std::copy(gc, gc + size, dc));
    }
    if (size == 0 || p.steps == 0) return;
    // Whether some of a state's gradient reaches the state before it past the product.
    const bool bypass = p.op == kGru || lengths != nullptr;
    // The gradients of the sums of step s; dh has that of its state on entry, without the share of
    // gh, and what bypasses the sums on return.
    const auto start = [&](int64_t s, Part samples, Part units) {
      const int64_t t = p.at(s), u = p.before(s), k = units.begin, count = units.count;
      const T* before = block<const T>(h, v[5].ptr<T>(), u, size) + k;
      const T* c_before = block<const T>(c, v[6].ptr<T>(), u, size) + k;
      for (int64_t b = samples.begin; b < samples.end(); ++b) {
        const int64_t at = t * wide + b * row + k, own = (t * p.batch + b) * 4 * n + k;
        const T *out = h + t * size + b * n + k, *given = gh + t * size + b * n + k;
        T *d = dh + b * n + k, *g = ggates + at;
        if (lengths != nullptr && t >= lengths[b]) {
          for (int64_t i = 0; i < count; ++i) d[i] += given[i];
          for (int64_t j = 0; j < row; j += n) {
            std::fill(g + j, g + j + count, T(0));
            std::fill(sums + at + j, sums + at + j + count, T(0));
          }
          continue;
        }
        if (p.op == kTanh) f.tanh_grad(count, out, given, d, g);
        if (p.op == kRelu) f.relu_grad(count, out, given, d, g);
        if (p.op == kLstm)
          f.lstm_grad(count, n, saved + own, c_before + b * n, c + t * size + b * n + k, given, d,
                      dc + b * n + k, g);
        if (p.op == kGru)
          f.gru_grad(count, n, saved + own, before + b * n, given, d, g, sums + at);
        else if (bypass)
          std::fill(d, d + count, T(0));
      }
    };
    if (p.steps == 1) {
      parallel_for(p.batch, p.grain(),
                   [&](int64_t begin, int64_t end) { start(0, {begin, end - begin}, {0, n}); });
      require("recurrent_grad",
              product<T>(p.batch, n, row, sums, w, int64_t(1), n, dh, bypass, nullptr));
      return;
    }
    const PackedB<T> weight({w, 1, n}, 1, n, row);
    const Scratch grads(bytes_of<T>(2 * wide));
    require("recurrent_grad", weight && grads);
    const Grid grid = grid_of<T>(p, weight.panel());
    walk(p, grid, [&](int64_t round, Part samples, Part units) {
      const auto packed = [&](int64_t r) {
        return PackedRows<T>{grads.at<T>(0) + (r & 1) * wide + samples.begin * row, samples.count,
                             row};
      };
      const int64_t s = p.steps - 1 - round;
      for (int64_t j = units.begin; j < units.end() && round > 0; j += weight.panel()) {
        T* const to = dh + samples.begin * n + j;
        weight.multiply(packed(round - 1), 0, j / weight.panel(), to, n, bypass ? to : nullptr, n);
      }
      if (s < 0) return;
      start(s, samples, units);
      const T* made = sums + p.at(s) * wide + samples.begin * row;
      for (int64_t j = units.begin; j < row; j += n)
        pack_rows(packed(round), made + j, row, j, units.count);
    });
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
        bool states, py::handle h0_array, py::handle c0_array, py::handle w_array,
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
    p.features = v.shape[2];
    check(!states || v.shape[2] == p.units, ErrorKind::shape, op, ": ", what,
          " expects shape (T, N, ", p.units, ") for w of shape ", shape_of(weight), ", got ",
          shape_of(v));
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
  int64_t work() const { return p.steps * p.batch * p.gates() * (p.units + p.features + 1); }
};

py::tuple recurrent(int64_t kind, py::handle x, py::handle w_in, py::handle b_in, py::handle h0,
                    py::handle c0, py::handle w, py::handle bias, py::handle lengths,
                    bool reverse) {
  const char* op = "recurrent";
  Layer layer(op, kind, reverse, x, "x", false, h0, c0, w, lengths);
  Params& p = layer.p;
  const View in = prepared(op, "x", x, layer.dtype, layer.keep);
  check(bias.is_none() || p.op == kGru, ErrorKind::value, op,
        ": bias is for the GRU; add it to b_in elsewhere");
  const int64_t wide = p.gates(), input[2] = {wide, p.features};
  const View weight_in = layer.operand(w_in, "w_in", 2, input);
  View b, bias_in;
  if (!bias.is_none()) b = layer.operand(bias, "bias", 1, &wide);
  if (!b_in.is_none()) bias_in = layer.operand(b_in, "b_in", 1, &wide);
  // Weights that stay near meet the input step by step, which spares a pass through memory.
  p.at_once =
      p.steps == 1 || p.features == 0 || double(wide) * double(p.units + p.features) > kNearWeights;
  const Output h = layer.output(p.units);
  Output c, saved, hidden, gates;
  if (p.op == kLstm) c = layer.output(p.units);
  if (p.op >= kLstm) saved = layer.output(4 * p.units);
  if (p.op == kGru) {
    const int64_t step[3] = {1, p.batch, wide}, all[3] = {p.steps, p.batch, wide};
    hidden = empty(op, layer.dtype, 3, step);
    gates = empty(op, layer.dtype, 3, p.at_once ? all : step);
  }
  if (h.view.size() > 0) {
    run(forward_kernel, p,
        {gates.view, layer.h0, layer.c0, layer.w, b, layer.lengths, h.view, c.view, saved.view,
         hidden.view, in, weight_in, bias_in},
        layer.work());
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
  Layer layer(op, kind, reverse, h, "h", true, h0, c0, w, lengths);
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
  run(backward_kernel, p,
      {g, gstate, y, cells, gates, layer.h0, layer.c0, layer.w, layer.lengths, ggates.view,
       ghidden.view, dh.view, dc.view},
      2 * layer.work());
  const auto given = [&](const Output& out) {
    return out.array ? finished(op, out, layer.stored) : py::object(py::none());
  };
  return py::make_tuple(finished(op, ggates, layer.stored), given(ghidden),
                        finished(op, dh, layer.stored), given(dc));
}

}  // namespace

void bind_recurrent(py::module_& m) {
  using py::arg;
  m.def("recurrent", &recurrent, arg("op"), arg("x"), arg("w_in"), arg("b_in"), arg("h0"),
        arg("c0"), arg("w"), arg("bias"), arg("lengths"), arg("reverse"));
  m.def("recurrent_grad", &recurrent_grad, arg("op"), arg("gh"), arg("gc"), arg("h"), arg("c"),
        arg("saved"), arg("h0"), arg("c0"), arg("w"), arg("lengths"), arg("reverse"));
}

}  // namespace tg

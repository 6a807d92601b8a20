// Average pooling, fixed and adaptive, and the adjoints: sums over windows.
//
// The adjoint of an average divides g by the counts, unless they are all one number, and sums, for
// every input position, over the outputs whose windows cover it: the same kernel with the tables of
// the axes turned round.
#include <algorithm>

#include "core/args.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/row.h"
#include "ops/copy/prepare.h"
#include "ops/pool/pool.h"

namespace tg {
namespace {

constexpr int64_t kFewLanes = 4, kManyTaps = 16;  // large windows of few outputs go by rows, too

struct AvgParams {
  PoolGeometry geometry;
  Lanes lanes;
  bool include_padding;
  double divisor;  // 0: the window's own count
};

struct SumPool : PoolWindows {
  std::vector<double> counts[2];  // along depth and height
  std::vector<char> widths;       // counts along the width, in y's dtype
  double divisor = 0;             // instead of counts
  View y;
  int64_t item;

  double share(int64_t d, int64_t h) const {
    if (divisor != 0) return divisor;
    return counts[0].empty() ? 0 : counts[0][d] * counts[1][h];
  }
  double width_count(int64_t w) const {
    if (widths.empty()) return 1;
    const char* p = widths.data() + w * item;
    return y.dtype == DType::f64 ? *reinterpret_cast<const double*>(p)
                                 : double(*reinterpret_cast<const float*>(p));
  }

  // One window at a time, by the reduction kernels: rows of it, or columns of channels.
  void large(const char* base, int64_t d, int64_t h, int64_t w, int64_t channels, char* out) const {
    const int64_t at[3] = {d, h, w};
    Sequence seq{};
    for (int i = 0; i < 3; ++i) {
      base += axes[i].first[at[i]] * x.strides[2 + i];
      const int64_t count = axes[i].count[at[i]], stride = x.strides[2 + i];
      if (seq.ndim > 0 && seq.stride[0][seq.ndim - 1] == count * stride)
        seq.size[seq.ndim - 1] *= count;  // rows that follow each other are one
      else
        seq.size[seq.ndim++] = count;
      seq.stride[0][seq.ndim - 1] = stride;
    }
    const FoldTable& fold = *kernels().row->fold_arithmetic;
    const FoldKernel sum = (channels > 0 ? fold.columns : fold.rows)[0][int(x.dtype)];
    const int64_t n = std::max<int64_t>(channels, 1);
    sum(seq, base, item, n, 0, taps(d, h, w), out);
    const double by = share(d, h) * (divisor != 0 ? 1 : width_count(w));
    if (by == 0) return;
    for (int64_t i = 0; i < n; ++i) {
      if (y.dtype == DType::f64)
        reinterpret_cast<double*>(out)[i] /= by;
      else
        reinterpret_cast<float*>(out)[i] /= float(by);
    }
  }

  // Positions w, w + period, ... of a row: n of each of the phases.
  void some(TapLists* lists, const char* base, int64_t d, int64_t h, int64_t w, int phases,
            int64_t n, int64_t y_step, char* out) const {
    list(lists, d, h, w);  // so that asking for it again does not replace that of the other phase
    const TapList& two = list(lists, d, h, w + phases - 1);
    const TapList& one = list(lists, d, h, w);
    const char* count = divisor != 0 || widths.empty() ? nullptr : widths.data() + w * item;
    table()({{base + bytes(d, h, w), base + bytes(d, h, w + phases - 1)},
             {one.bytes, two.bytes},
             {one.count, two.count},
             phases,
             axes[2].advance,
             n,
             out,
             y_step,
             share(d, h),
             count});
  }
  void (*table() const)(const SumTaps&) { return kernels().row->pool->sum[float_index(x.dtype)]; }

  char* at(const View& v, int64_t n, int64_t c, int64_t d, int64_t h) const {
    return v.data + n * v.strides[0] + c * v.strides[1] + d * v.strides[2] + h * v.strides[3];
  }

  void row(TapLists* lists, int64_t n, int64_t c, int64_t d, int64_t h) const {
    const AxisTaps& w = axes[2];
    const char* base = x.data + n * x.strides[0] + c * x.strides[1];
    char* out = at(y, n, c, d, h);
    const int64_t step = y.strides[4], lanes = (w.end - w.begin) / w.period;
    const auto one = [&](int64_t i) {
      if (taps(d, h, i) >= kManyTaps)
        large(base, d, h, i, 0, out + i * step);
      else
        some(lists, base, d, h, i, 1, 1, 1, out + i * step);
    };
    bool by_lanes = lanes >= kFewLanes;
    for (int64_t r = 0; r < w.period && by_lanes; ++r)
      by_lanes = taps(d, h, w.begin + r) <= kMostTaps;
    const int64_t begin = by_lanes ? w.begin : 0, end = by_lanes ? w.end : 0;
    for (int64_t i = 0; i < begin; ++i) one(i);
    if (by_lanes && w.period <= 2)
      some(lists, base, d, h, begin, int(w.period), lanes, 1, out + begin * step);
    else if (by_lanes)
      for (int64_t r = 0; r < w.period; ++r)
        some(lists, base, d, h, begin + r, 1, lanes, w.period, out + (begin + r) * step);
    for (int64_t i = end; i < y.shape[4]; ++i) one(i);
  }

  void pixels(TapLists* lists, int64_t n, int64_t d, int64_t h) const {
    const char* base = x.data + n * x.strides[0];
    const auto sum = table();
    char* out = at(y, n, 0, d, h);
    const double rows = share(d, h);
    const TapList* t = nullptr;
    for (int64_t w = 0; w < y.shape[4]; ++w, out += y.strides[4]) {
      if (taps(d, h, w) > kMostTaps) {
        large(base, d, h, w, y.shape[1], out);
        continue;
      }
      if (t == nullptr || t->size[2] != axes[2].count[w]) t = &list(lists, d, h, w);
      const double by = rows * (divisor != 0 ? 1 : width_count(w));
      sum({{base + bytes(d, h, w), nullptr},
           {t->bytes, nullptr},
           {t->count, 0},
           1,
           1,
           y.shape[1],
           out,
           1,
           by,
           nullptr});
    }
  }

  // Whether the rows of all planes differ in nothing but where they read, as those of windows
  // without padding.
  bool is_even() const {
    const AxisTaps &h = axes[1], &w = axes[2];
    if (y.shape[2] != 1 || w.begin != 0 || w.end != y.shape[4] || w.period > 2) return false;
    for (const int64_t count : h.count)
      if (count != h.count[0]) return false;
    return w.end >= kFewLanes * w.period &&
           std::max(taps(0, 0, 0), taps(0, 0, w.period - 1)) <= kMostTaps;
  }

  // What is the same for all rows is looked up once.
  struct EvenRows {
    const SumPool& pool;
    TapLists lists;
    SumTaps taps;
    void (*sum)(const SumTaps&);

    explicit EvenRows(const SumPool& p)
        : pool(p), lists(p.x.strides + 2, p.x.strides + 2), sum(p.table()) {
      const int phases = int(p.axes[2].period);
      const TapList* list[2];
      for (int k = 0; k < 2; ++k) list[k] = &p.list(&lists, 0, 0, k < phases ? k : 0);
      taps = {{},
              {list[0]->bytes, list[1]->bytes},
              {list[0]->count, list[1]->count},
              phases,
              p.axes[2].advance,
              p.y.shape[4] / phases,
              nullptr,
              1,
              0,
              p.divisor != 0 || p.widths.empty() ? nullptr : p.widths.data()};
    }
    EvenRows(const EvenRows&) = delete;  // taps points into lists

    void operator()(int64_t n, int64_t c, int64_t, int64_t h) {
      const char* base = pool.x.data + n * pool.x.strides[0] + c * pool.x.strides[1];
      taps.base[0] = base + pool.bytes(0, h, 0);
      taps.base[1] = base + pool.bytes(0, h, taps.phases - 1);
      taps.y = pool.at(pool.y, n, c, 0, h);
      taps.share = pool.share(0, h);
      sum(taps);
    }
  };

  void run(Lanes lanes) const {
    int64_t cost = y.shape[4];
    for (const AxisTaps& a : axes)
      cost *= a.count.empty() ? 0 : *std::max_element(a.count.begin(), a.count.end());
    const bool channels = lanes == Lanes::channels;
    if (channels) cost *= y.shape[1];
    if (!channels && is_even())
      return for_output_rows(y, lanes, cost, [&] { return EvenRows(*this); });
    for_output_rows(y, lanes, cost, [&] {
      return [this, channels, lists = TapLists(x.strides + 2, x.strides + 2)](
                 int64_t n, int64_t c, int64_t d, int64_t h) mutable {
        channels ? pixels(&lists, n, d, h) : row(&lists, n, c, d, h);
      };
    });
  }

  void take_counts(const AvgParams& p) {
    divisor = p.divisor;
    for (int i = 0; i < 2; ++i) counts[i] = counts_of_outputs(p.geometry, i, p.include_padding);
    const std::vector<double> w = counts_of_outputs(p.geometry, 2, p.include_padding);
    widths.resize(w.size() * item);
    for (size_t i = 0; i < w.size(); ++i) {
      if (y.dtype == DType::f64)
        reinterpret_cast<double*>(widths.data())[i] = w[i];
      else
        reinterpret_cast<float*>(widths.data())[i] = float(w[i]);
    }
  }
};

// views: y, x
void avg_kernel(const AvgParams& p, const View* views) {
  SumPool pool{};
  pool.y = views[0];
  pool.x = views[1];
  pool.item = itemsize(pool.x.dtype);
  for (int i = 0; i < 3; ++i) pool.axes[i] = taps_of_outputs(p.geometry, i);
  pool.take_counts(p);
  pool.run(p.lanes);
}

// What all windows are divided by, or 0.
double common_count(const AvgParams& p) {
  if (p.divisor != 0) return p.divisor;
  double product = 1;
  for (int i = 0; i < 3; ++i) {
    const std::vector<double> counts = counts_of_outputs(p.geometry, i, p.include_padding);
    for (const double c : counts)
      if (c != counts[0]) return 0;
    product *= counts.empty() ? 1 : counts[0];
  }
  return product;
}

// views: gx, g, g divided by the counts
void grad_kernel(const AvgParams& p, const View* views) {
  SumPool sum{};
  sum.y = views[0];
  sum.x = views[1];
  sum.item = itemsize(sum.x.dtype);
  sum.divisor = common_count(p);
  if (sum.divisor == 0) {
    SumPool divide{};
    divide.y = sum.x = views[2];
    divide.x = views[1];
    divide.item = sum.item;
    PoolGeometry same{};
    for (int i = 0; i < 3; ++i) {
      same.in[i] = same.out[i] = p.geometry.out[i];
      same.kernel[i] = same.stride[i] = same.dilation[i] = 1;
      divide.axes[i] = taps_of_outputs(same, i);
    }
    divide.take_counts(p);
    divide.run(p.lanes);
  }
  for (int i = 0; i < 3; ++i) sum.axes[i] = taps_of_inputs(p.geometry, i);
  sum.run(p.lanes);
}

py::object run_avg(const PoolName& op, const View& x, const PoolGeometry& geometry,
                   bool include_padding, double divisor) {
  const int rank = x.ndim - 2;
  const AvgParams params{geometry, lanes_of(x), include_padding, divisor};
  const PoolResult y(op, x.dtype, x, params.lanes, geometry.out + 3 - rank);
  if (y.out.view.size() > 0) {
    py::object keep;
    const View operand =
        pool_operand(op, x, compute_dtype(x.dtype), params.lanes, Pack::lanes, &keep);
    run(avg_kernel, params, {y.view(), operand}, 4 * x.size());
  }
  return y.finish();
}

py::object run_grad(const PoolName& op, const View& g, const PoolGeometry& geometry,
                    bool include_padding, double divisor) {
  const int rank = g.ndim - 2;
  check(std::equal(g.shape + 2, g.shape + g.ndim, geometry.out + 3 - rank), ErrorKind::shape, op,
        ": g must have the spatial shape ", Shape{geometry.out + 3 - rank, rank},
        " of the output, got shape ", shape_of(g));
  const AvgParams params{geometry, lanes_of(g), include_padding, divisor};
  const DType t = compute_dtype(g.dtype);
  const PoolResult gx(op, g.dtype, g, params.lanes, geometry.in + 3 - rank);
  if (gx.out.view.size() > 0) {
    py::object keep;
    const View operand = pool_operand(op, g, t, params.lanes, Pack::lanes, &keep);
    const PoolResult part(op, t, g, params.lanes, g.shape + 2, Pack::planes);
    run(grad_kernel, params, {gx.view(), operand, part.view()}, 4 * gx.out.view.size());
  }
  return gx.finish();
}

double read_divisor(const PoolName& op, py::handle divisor) {
  return double(integer_of(divisor, op, "divisor"));
}

}  // namespace

py::object avg_pool(py::handle x_array, py::handle kernel, py::handle stride, py::handle padding,
                    bool ceil_mode, bool count_include_pad, py::handle divisor) {
  const View x = view_of(x_array, "avg_pool", "x");
  check_float("avg_pool", x, "x");
  const PoolName op("avg_pool", pool_rank("avg_pool", x, "x"));
  const PoolGeometry geometry =
      read_geometry(op, x.ndim - 2, x.shape + 2, kernel, stride, padding, py::none(), ceil_mode);
  return run_avg(op, x, geometry, count_include_pad, read_divisor(op, divisor));
}

py::object avg_pool_grad(py::handle g_array, py::handle in_spatial, py::handle kernel,
                         py::handle stride, py::handle padding, bool ceil_mode,
                         bool count_include_pad, py::handle divisor) {
  const View g = view_of(g_array, "avg_pool_grad", "g");
  check_float("avg_pool_grad", g, "g");
  const int rank = pool_rank("avg_pool_grad", g, "g");
  const PoolName op("avg_pool", rank, "_grad");
  int64_t in[kMaxDims];
  read_spatial(op, "in_spatial", in_spatial, rank, in);
  const PoolGeometry geometry =
      read_geometry(op, rank, in, kernel, stride, padding, py::none(), ceil_mode);
  return run_grad(op, g, geometry, count_include_pad, read_divisor(op, divisor));
}

py::object adaptive_avg_pool(py::handle x_array, py::handle out_spatial) {
  const View x = view_of(x_array, "adaptive_avg_pool", "x");
  check_float("adaptive_avg_pool", x, "x");
  const int rank = pool_rank("adaptive_avg_pool", x, "x");
  const PoolName op("adaptive_avg_pool", rank);
  int64_t out[kMaxDims];
  read_spatial(op, "out_spatial", out_spatial, rank, out);
  return run_avg(op, x, adaptive_geometry(op, rank, x.shape + 2, out), false, 0);
}

py::object adaptive_avg_pool_grad(py::handle g_array, py::handle in_spatial) {
  const View g = view_of(g_array, "adaptive_avg_pool_grad", "g");
  check_float("adaptive_avg_pool_grad", g, "g");
  const int rank = pool_rank("adaptive_avg_pool_grad", g, "g");
  const PoolName op("adaptive_avg_pool", rank, "_grad");
  int64_t in[kMaxDims];
  read_spatial(op, "in_spatial", in_spatial, rank, in);
  return run_grad(op, g, adaptive_geometry(op, rank, in, g.shape + 2), false, 0);
}

}  // namespace tg

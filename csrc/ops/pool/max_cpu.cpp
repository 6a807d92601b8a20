// max_pool and adaptive_max_pool with indices.
#include <algorithm>

#include "core/args.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/row.h"
#include "ops/copy/prepare.h"
#include "ops/pool/pool.h"

namespace tg {
namespace {

constexpr int64_t kLongRow = 16;  // windows this wide of a single output are walked by rows, too

struct MaxPoolParams {
  PoolGeometry geometry;
  Lanes lanes;
  PoolName op;
};

// One call: the tables of the axes and the operands.
struct MaxPool : PoolWindows {
  View y, index;
  PoolIndex kind;
  const PoolTable* table;
  int64_t item, step[3], flat_step[3];  // of the taps, in bytes and in flat positions

  // The first tap of a window as a flat position.
  int64_t flat(int64_t od, int64_t oh, int64_t ow) const {
    return (axes[0].first[od] * x.shape[3] + axes[1].first[oh]) * x.shape[4] + axes[2].first[ow];
  }
  void write_index(char* to, int64_t i, int64_t place) const {
    if (kind == kIndex16)
      reinterpret_cast<uint16_t*>(to)[i] = uint16_t(place);
    else if (kind == kIndex32)
      reinterpret_cast<int32_t*>(to)[i] = int32_t(place);
    else
      reinterpret_cast<int64_t*>(to)[i] = place;
  }

  // The window of output (od, oh, ow) of the plane at base, for n lanes.
  void window(TapLists* lists, const char* base, int64_t od, int64_t oh, int64_t ow, int64_t n,
              int64_t lane_step, int64_t index_step, char* out, char* at) const {
    base += bytes(od, oh, ow);
    const int64_t nd = axes[0].count[od], nh = axes[1].count[oh], nw = axes[2].count[ow];
    const int64_t first = flat(od, oh, ow);
    // Rows that follow each other, in memory and in flat positions, are one.
    const bool whole = nh > 1 && step[1] == nw * step[2] && flat_step[1] == nw * flat_step[2];
    const int64_t rows = whole ? 1 : nh, length = whole ? nh * nw : nw;
    if (nd * nh * nw > kMostTaps || (n == 1 && length >= kLongRow)) {
      for (int64_t i = 0; i < n; ++i) {
        int64_t tap[3];
        table->max_window[int(x.dtype)](
            {base + i * lane_step * item, {nd, rows, length}, {step[0], step[1], step[2]}},
            out + i * item, tap);
        write_index(at, i,
                    first + i * index_step + tap[0] * flat_step[0] + tap[1] * flat_step[1] +
                        tap[2] * flat_step[2]);
      }
      return;
    }
    MaxTaps taps = taps_of(lists, od, oh, ow);
    taps.base = base;
    taps.lane_step = lane_step;
    taps.index_step = index_step;
    taps.n = n;
    taps.y = out;
    taps.index = at;
    table->max[kind][int(x.dtype)](taps);
  }

  char* out(const View& v, int64_t n, int64_t c, int64_t od, int64_t oh, int64_t ow) const {
    return v.data + n * v.strides[0] + c * v.strides[1] + od * v.strides[2] + oh * v.strides[3] +
           ow * v.strides[4];
  }

  // A row of outputs of one channel: lanes along the width.
  void row(TapLists* lists, int64_t n, int64_t c, int64_t od, int64_t oh) const {
    const AxisTaps& w = axes[2];
    const char* base = x.data + n * x.strides[0] + c * x.strides[1];
    const auto some = [&](int64_t ow, int64_t count) {
      window(lists, base, od, oh, ow, count, w.advance, w.advance, out(y, n, c, od, oh, ow),
             out(index, n, c, od, oh, ow));
    };
    for (int64_t ow = 0; ow < w.begin; ++ow) some(ow, 1);
    if (w.begin < w.end) some(w.begin, w.end - w.begin);
    for (int64_t ow = w.end; ow < y.shape[4]; ++ow) some(ow, 1);
  }

  // A row of outputs of all channels: lanes along the channels.
  void pixels(TapLists* lists, int64_t n, int64_t od, int64_t oh) const {
    const AxisTaps& w = axes[2];
    const char* base = x.data + n * x.strides[0];
    char *to = out(y, n, 0, od, oh, 0), *at = out(index, n, 0, od, oh, 0);
    const auto one = [&](int64_t ow) {
      window(lists, base, od, oh, ow, x.shape[1], 1, 0, to + ow * y.strides[4],
             at + ow * index.strides[4]);
    };
    int64_t ow = 0;
    for (; ow < w.begin; ++ow) one(ow);
    const bool dense =
        y.strides[4] == x.shape[1] * item && index.strides[4] == x.shape[1] * itemsize(index.dtype);
    if (w.begin < w.end && dense && w.period == 1 && taps(od, oh, ow) <= kMostTaps) {
      MaxTaps taps = taps_of(lists, od, oh, ow);
      taps.base = base + bytes(od, oh, ow);
      taps.lane_step = 1;
      taps.n = x.shape[1];
      taps.y = to + ow * y.strides[4];
      taps.index = at + ow * index.strides[4];
      taps.rows = taps.plane_rows = w.end - w.begin;
      taps.x_row = w.advance * x.strides[4];
      taps.place_row = w.advance;
      table->max[kind][int(x.dtype)](taps);
      ow = w.end;
    }
    for (; ow < y.shape[4]; ++ow) one(ow);
  }

  // Whether all windows of all planes are alike, as those without padding that divide the input.
  bool is_even() const {
    if (y.shape[2] != 1 || !is_dense(y) || !is_dense(index)) return false;
    for (const AxisTaps& a : axes)
      if (a.begin != 0 || a.end != int64_t(a.first.size()) || a.period != 1) return false;
    return taps(0, 0, 0) <= (y.shape[4] > 1 ? kMostTaps : kLongRow);
  }
  static bool is_dense(const View& v) {
    int64_t expected = itemsize(v.dtype);
    for (int i = v.ndim - 1; i >= 0; expected *= v.shape[i--])
      if (v.shape[i] != 1 && v.strides[i] != expected) return false;
    return true;
  }

  // Rows [begin, end) of outputs of all planes, as many in one call as their inputs allow.
  void rows(int64_t begin, int64_t end) const {
    TapLists lists(step, flat_step);
    MaxTaps taps = taps_of(&lists, 0, 0, 0);
    const int64_t height = y.shape[3], channels = x.shape[1];
    taps.lane_step = taps.index_step = axes[2].advance;
    taps.n = y.shape[4];
    taps.x_row = axes[1].advance * x.strides[3];
    taps.place_row = axes[1].advance * x.shape[4];
    taps.plane_rows = height;
    const int64_t plane = height * taps.x_row;
    const bool joined = (channels == 1 || x.strides[1] == plane) &&
                        (x.shape[0] == 1 || x.strides[0] == channels * plane);
    for (int64_t row = begin; row < end; row += taps.rows) {
      const int64_t at = row / height;
      taps.row = row % height;
      taps.rows = joined ? end - row : std::min(end - row, height - taps.row);
      taps.base = x.data + at / channels * x.strides[0] + at % channels * x.strides[1] +
                  bytes(0, taps.row, 0);
      taps.y = y.data + row * taps.n * item;
      taps.index = index.data + row * taps.n * itemsize(index.dtype);
      table->max[kind][int(x.dtype)](taps);
    }
  }

  // The list of the window of an output; where it lies is left to the caller.
  MaxTaps taps_of(TapLists* lists, int64_t od, int64_t oh, int64_t ow) const {
    const TapList& t = list(lists, od, oh, ow);
    return {nullptr, t.bytes, t.places, t.count, 1, 0, 1, nullptr, flat(od, oh, ow), nullptr};
  }
};

// views: y, index, x; five axes each, lanes contiguous.
void max_pool_kernel(const MaxPoolParams& params, const View* views) {
  MaxPool pool{};
  pool.y = views[0];
  pool.index = views[1];
  pool.x = views[2];
  pool.kind = pool_index(pool.x.shape[2] * pool.x.shape[3] * pool.x.shape[4]);
  pool.table = kernels().row->pool;
  pool.item = itemsize(pool.x.dtype);
  int64_t taps = 1, plane = 1;
  for (int i = 2; i >= 0; --i) {
    pool.axes[i] = taps_of_outputs(params.geometry, i);
    pool.step[i] = pool.axes[i].step * pool.x.strides[2 + i];
    pool.flat_step[i] = pool.axes[i].step * plane;
    plane *= pool.x.shape[2 + i];
    int64_t most = 0;
    for (const int64_t count : pool.axes[i].count) {
      check(count > 0, ErrorKind::value, params.op, ": a window holds nothing but padding, kernel ",
            Shape{params.geometry.kernel, 3}, ", dilation ", Shape{params.geometry.dilation, 3},
            ", padding ", Shape{params.geometry.before, 3}, ", input ",
            Shape{params.geometry.in, 3}, " (depth, height, width)");
      most = std::max(most, count);
    }
    taps *= most;
  }
  const bool channels = params.lanes == Lanes::channels;
  const int64_t cost = taps * pool.y.shape[4] * (channels ? pool.y.shape[1] : 1);
  if (!channels && pool.is_even()) {
    const int64_t rows = pool.y.shape[0] * pool.y.shape[1] * pool.y.shape[3];
    parallel_for(rows, kRowsWorth / std::max<int64_t>(cost, 1),
                 [&](int64_t begin, int64_t end) { pool.rows(begin, end); });
    return;
  }
  for_output_rows(pool.y, params.lanes, cost, [&] {
    return [&pool, channels, lists = TapLists(pool.step, pool.flat_step)](
               int64_t n, int64_t c, int64_t d, int64_t h) mutable {
      channels ? pool.pixels(&lists, n, d, h) : pool.row(&lists, n, c, d, h);
    };
  });
}

py::object run_max(const PoolName& op, const View& x, const PoolGeometry& geometry) {
  const int rank = x.ndim - 2;
  const MaxPoolParams params{geometry, lanes_of(x), op};
  const PoolResult y(op, x.dtype, x, params.lanes, geometry.out + 3 - rank);
  const PoolIndex kind = pool_index(geometry.in[0] * geometry.in[1] * geometry.in[2]);
  const PoolResult index(op, kIndexTypes[kind], x, params.lanes, geometry.out + 3 - rank);
  if (y.out.view.size() > 0) {
    py::object keep;
    const View operand =
        pool_operand(op, x, compute_dtype(x.dtype), params.lanes, Pack::lanes, &keep);
    run(max_pool_kernel, params, {y.view(), index.view(), operand}, 4 * x.size(),
        Arithmetic::exact);
  }
  return py::make_tuple(y.finish(), index.finish());
}

}  // namespace

py::object max_pool(py::handle x_array, py::handle kernel, py::handle stride, py::handle padding,
                    py::handle dilation, bool ceil_mode) {
  const View x = view_of(x_array, "max_pool", "x");
  const PoolName op("max_pool", pool_rank("max_pool", x, "x"));
  return run_max(
      op, x,
      read_geometry(op, x.ndim - 2, x.shape + 2, kernel, stride, padding, dilation, ceil_mode));
}

py::object adaptive_max_pool(py::handle x_array, py::handle out_spatial) {
  const View x = view_of(x_array, "adaptive_max_pool", "x");
  const int rank = pool_rank("adaptive_max_pool", x, "x");
  const PoolName op("adaptive_max_pool", rank);
  int64_t out[kMaxDims];
  read_spatial(op, "out_spatial", out_spatial, rank, out);
  return run_max(op, x, adaptive_geometry(op, rank, x.shape + 2, out));
}

}  // namespace tg

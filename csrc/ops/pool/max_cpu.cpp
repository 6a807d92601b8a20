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

constexpr int kMostTaps = 256;    // listed one by one; larger windows are walked by rows
constexpr int64_t kLongRow = 16;  // and so are windows this wide of a single output

struct MaxPoolParams {
  PoolGeometry geometry;
  Lanes lanes;
  PoolName op;
};

// One call: the tables of the axes and the operands.
struct MaxPool {
  AxisTaps axes[3];
  View y, index, x;
  const PoolTable* table;
  int64_t item;

  // The window of output (od, oh, ow), whose taps are listed relative to x at base, for n lanes.
  void window(const char* base, int64_t od, int64_t oh, int64_t ow, int64_t n, int64_t lane_step,
              int64_t index_step, char* out, int64_t* at) const {
    const AxisTaps &d = axes[0], &h = axes[1], &w = axes[2];
    const int64_t nd = d.count[od], nh = h.count[oh], nw = w.count[ow];
    const int64_t taps = nd * nh * nw;  // a window lies within the plane: no overflow
    const int64_t plane =
        d.first[od] * x.strides[2] + h.first[oh] * x.strides[3] + w.first[ow] * x.strides[4];
    const int64_t flat = (d.first[od] * x.shape[3] + h.first[oh]) * x.shape[4] + w.first[ow];
    const int64_t flat_step[3] = {d.step * x.shape[3] * x.shape[4], h.step * x.shape[4], w.step};
    const int64_t step[3] = {d.step * x.strides[2], h.step * x.strides[3], w.step * x.strides[4]};
    // Rows that follow each other, in memory and in flat positions, are one.
    const bool whole = nh > 1 && step[1] == nw * step[2] && flat_step[1] == nw * flat_step[2];
    const int64_t rows = whole ? 1 : nh, length = whole ? nh * nw : nw;
    if (taps > kMostTaps || (n == 1 && length >= kLongRow)) {
      for (int64_t i = 0; i < n; ++i) {
        int64_t tap[3];
        table->max_window[int(x.dtype)](
            {base + plane + i * lane_step * item, {nd, rows, length}, {step[0], step[1], step[2]}},
            out + i * item, tap);
        at[i] = flat + i * index_step + tap[0] * flat_step[0] + tap[1] * flat_step[1] +
                tap[2] * flat_step[2];
      }
      return;
    }
    Taps t;
    list(base, od, oh, ow, &t);
    table->max[int(x.dtype)]({t.tap, t.offset, t.count, lane_step, index_step, n, out, at});
  }

  struct Taps {
    const char* tap[kMostTaps];
    int64_t offset[kMostTaps];
    int count = 0;
  };
  // The taps of an output relative to x at base, and their flat positions.
  void list(const char* base, int64_t od, int64_t oh, int64_t ow, Taps* t) const {
    const int64_t at[3] = {od, oh, ow};
    for (int64_t i = 0; i < axes[0].count[od]; ++i)
      for (int64_t j = 0; j < axes[1].count[oh]; ++j)
        for (int64_t k = 0; k < axes[2].count[ow]; ++k, ++t->count) {
          const int64_t tap[3] = {i, j, k};
          int64_t flat = 0, bytes = 0;
          for (int a = 0; a < 3; ++a) {
            const int64_t place = axes[a].first[at[a]] + tap[a] * axes[a].step;
            flat = flat * x.shape[2 + a] + place;
            bytes += place * x.strides[2 + a];
          }
          t->tap[t->count] = base + bytes;
          t->offset[t->count] = flat;
        }
  }

  char* out(const View& v, int64_t n, int64_t c, int64_t od, int64_t oh, int64_t ow) const {
    return v.data + n * v.strides[0] + c * v.strides[1] + od * v.strides[2] + oh * v.strides[3] +
           ow * v.strides[4];
  }

  // A row of outputs of one channel: lanes along the width.
  void row(int64_t n, int64_t c, int64_t od, int64_t oh) const {
    const AxisTaps& w = axes[2];
    const char* base = x.data + n * x.strides[0] + c * x.strides[1];
    const auto some = [&](int64_t ow, int64_t count) {
      window(base, od, oh, ow, count, w.advance, w.advance, out(y, n, c, od, oh, ow),
             reinterpret_cast<int64_t*>(out(index, n, c, od, oh, ow)));
    };
    for (int64_t ow = 0; ow < w.begin; ++ow) some(ow, 1);
    if (w.begin < w.end) some(w.begin, w.end - w.begin);
    for (int64_t ow = w.end; ow < y.shape[4]; ++ow) some(ow, 1);
  }

  // A row of outputs of all channels: lanes along the channels. Windows that are alike are listed
  // once and moved along.
  void pixels(int64_t n, int64_t od, int64_t oh) const {
    const AxisTaps& w = axes[2];
    const char* base = x.data + n * x.strides[0];
    const auto y_at = [&](int64_t ow) { return out(y, n, 0, od, oh, ow); };
    const auto index_at = [&](int64_t ow) {
      return reinterpret_cast<int64_t*>(out(index, n, 0, od, oh, ow));
    };
    const auto one = [&](int64_t ow) {
      window(base, od, oh, ow, x.shape[1], 1, 0, y_at(ow), index_at(ow));
    };
    int64_t ow = 0;
    for (; ow < w.begin; ++ow) one(ow);
    if (w.begin < w.end && x.shape[1] > 1 && w.period == 1 &&
        axes[0].count[od] * axes[1].count[oh] * w.count[ow] <= kMostTaps) {
      Taps t;
      list(base, od, oh, ow, &t);
      for (; ow < w.end; ++ow) {
        table->max[int(x.dtype)](
            {t.tap, t.offset, t.count, 1, 0, x.shape[1], y_at(ow), index_at(ow)});
        for (int i = 0; i < t.count; ++i) {
          t.tap[i] += w.advance * x.strides[4];
          t.offset[i] += w.advance;
        }
      }
    }
    for (; ow < y.shape[4]; ++ow) one(ow);
  }
};

// views: y, index, x; five axes each, lanes contiguous.
void max_pool_kernel(const MaxPoolParams& params, const View* views) {
  MaxPool pool{{}, views[0], views[1], views[2], kernels().row->pool, itemsize(views[2].dtype)};
  int64_t taps = 1;
  for (int i = 0; i < 3; ++i) {
    pool.axes[i] = taps_of_outputs(params.geometry, i);
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
  for_output_rows(pool.y, params.lanes, cost, [&](int64_t n, int64_t c, int64_t d, int64_t h) {
    if (channels)
      pool.pixels(n, d, h);
    else
      pool.row(n, c, d, h);
  });
}

py::object run_max(const PoolName& op, const View& x, const PoolGeometry& geometry) {
  const int rank = x.ndim - 2;
  const MaxPoolParams params{geometry, lanes_of(x), op};
  const PoolResult y(op, x.dtype, x, params.lanes, geometry.out + 3 - rank);
  const PoolResult index(op, DType::i64, x, params.lanes, geometry.out + 3 - rank);
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

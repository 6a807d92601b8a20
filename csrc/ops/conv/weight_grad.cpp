// gw[o, c, tap] = sum over images and positions of g[n, o, p] x[n, c, at(tap) + p * stride]. The
// images are cut into slices whose number depends on the shape alone; each slice has sums of its
// own, which are added in order, so that threads never change a bit.
#include "ops/conv/weight_grad.h"

#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "cpu/gemm_parts.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kSlices = 16;
constexpr int64_t kSliceBytes = 64 << 20;     // of all sums together
constexpr int64_t kLoweredBytes = 384 << 10;  // of a block of channels of one box
constexpr int64_t kPositions = 2048;  // of one box: a row of dot products in the first cache
constexpr int64_t kBlockChannels = 32;
constexpr double kPerThread = 1 << 19;

// The plan of g: position p is element p.
AxisPlan identity(int64_t count) { return plan_axis(count, 1, count, {0}, {0}, false); }

template <class T>
class WeightGrad {
 public:
  WeightGrad(const ConvParams& p, const View* v, const GemmTable<T>& t)
      : p_(p), gw_(v[0]), g_(v[1]), x_(v[2]), t_(t), taps_(p.taps()) {
    for (int i = 0; i < 3; ++i) {
      std::vector<int64_t> tap, at;
      for (int64_t k = 0; k < p.kernel[i]; ++k) {
        tap.push_back(k);
        at.push_back(tap_at(p, i, k));
      }
      axes_[i] = plan_axis(p.out[i], p.stride[i], p.in[i], tap, at, i == 2);
      outs_[i] = identity(p.out[i]);
    }
    const int64_t planes = axes_[0].planes() * axes_[1].planes() * axes_[2].planes();
    per_block_ = std::min(kBlockChannels, p.c);
    boxes_ = Boxes(axes_, per_block_ * planes * int64_t(sizeof(T)), kLoweredBytes, kPositions);
    items_ = p.n * boxes_.count();
    sums_ = p.groups * p.o * p.c * taps_;
    slices_ = std::min(
        {kSlices, items_,
         std::max<int64_t>(1, kSliceBytes / int64_t(sizeof(T)) / std::max<int64_t>(sums_, 1))});
    // Where there are few slices, threads share the output channels as well.
    const int64_t wanted = ceil_div(kSlices, slices_ * p.groups);
    row_parts_ = std::max<int64_t>(1, std::min(wanted, p.o / (4 * t.dot_rows)));
  }

  bool run() {
    const Scratch partial(slices_ * sums_ * int64_t(sizeof(T)));
    if (!partial) return false;
    partial_ = partial.template at<T>(0);
    std::atomic<bool> ok{true};
    const int64_t parts = slices_ * p_.groups * row_parts_;
    const double work = p_.flops() / 2 / double(parts);
    parallel_for(parts, int64_t(kPerThread / (work + 1)) + 1, [&](int64_t begin, int64_t end) {
      if (!run_parts(begin, end)) ok.store(false, std::memory_order_relaxed);
    });
    if (!ok.load()) return false;
    dispatch_float("conv", gw_.dtype, [&](auto tag) {
      using S = typename decltype(tag)::type;
      parallel_for(sums_, 1 << 15, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          T sum = partial_[i];
          for (int64_t s = 1; s < slices_; ++s) sum += partial_[s * sums_ + i];
          gw_.ptr<S>()[i] = compute<S>::store(compute_t<S>(sum));
        }
      });
    });
    return true;
  }

 private:
  struct Space {
    T *lowered, *x_image, *g_image, *g_rows;
    int64_t *offsets, *row_offsets;
  };

  bool run_parts(int64_t begin, int64_t end) {
    const LoweredShape largest(axes_, boxes_.largest());
    const int64_t terms = per_block_ * taps_;
    const int64_t *counts = boxes_.largest(), positions = counts[0] * counts[1] * counts[2];
    int64_t rows = 0;
    for (int64_t b = 0; b < boxes_.count(); ++b)
      rows = std::max(rows, Extent(axes_, boxes_.at(b)).rows());
    const int64_t lowered = bytes_of<T>(times(per_block_, largest.channel));
    const int64_t x_image =
        is_planar<T>(x_) ? 0 : bytes_of<T>(times(times(per_block_, rows), x_.shape[4]));
    const int64_t most_rows = ceil_div(p_.o, row_parts_);
    const int64_t g_image =
        is_planar<T>(g_) ? 0 : bytes_of<T>(most_rows * counts[0] * counts[1] * g_.shape[4]);
    const int64_t g_rows = g_in_place() ? 0 : bytes_of<T>(most_rows * positions);
    const Scratch scratch(lowered + x_image + g_image + g_rows +
                          (terms + taps_ + kMaxDotRows) * int64_t(sizeof(int64_t)));
    if (!scratch) return false;
    Space s;
    s.lowered = scratch.template at<T>(0);
    s.x_image = scratch.template at<T>(lowered);
    s.g_image = scratch.template at<T>(lowered + x_image);
    s.g_rows = scratch.template at<T>(lowered + x_image + g_image);
    s.row_offsets = scratch.template at<int64_t>(lowered + x_image + g_image + g_rows);
    s.offsets = s.row_offsets + kMaxDotRows;
    for (int64_t i = begin; i < end; ++i) {
      const Part rows_of = part_of(p_.o, row_parts_, i % row_parts_);
      const int64_t group = i / row_parts_ % p_.groups, slice = i / row_parts_ / p_.groups;
      T* const sums = partial_ + slice * sums_ + (group * p_.o + rows_of.begin) * p_.c * taps_;
      std::fill_n(sums, rows_of.count * p_.c * taps_, T(0));
      const Part items = part_of(items_, slices_, slice);
      for (int64_t k = items.begin; k < items.end(); ++k)
        add_item(k / boxes_.count(), boxes_.at(k % boxes_.count()), group, rows_of, sums, s);
    }
    return true;
  }

  // Whole rows of g follow each other, as the positions of a box do.
  bool g_in_place() const {
    return is_planar<T>(g_) && (p_.out[1] == 1 || g_.strides[3] == p_.out[2] * int64_t(sizeof(T)));
  }

  void add_item(int64_t n, const Box& box, int64_t group, Part rows, T* sums, const Space& s) {
    const LoweredShape shape(axes_, box.count);
    shape.tap_offsets(axes_, s.offsets);
    for (int64_t c = 1; c < per_block_; ++c)
      for (int64_t t = 0; t < taps_; ++t)
        s.offsets[c * taps_ + t] = c * shape.channel + s.offsets[t];
    const Extent g_extent(outs_, box), x_extent(axes_, box);
    const int64_t first = group * p_.o + rows.begin, run = box.count[1] * box.count[2];
    Planar<T> g = planar(g_, n, first, rows.count, g_extent, s.g_image, t_);
    int64_t g_channel = g.channel, g_slice = g.slice;
    const T* g_data = g.data + box.begin[0] * g.slice + box.begin[1] * g.line + box.begin[2];
    if (!g_in_place()) {
      const LoweredShape g_shape(outs_, box.count);
      lower(g, rows.count, outs_, box, g_shape, s.g_rows, t_);
      g_data = s.g_rows;
      g_channel = g_shape.channel;
      g_slice = run;
    }
    const int64_t row_tiles = ceil_div(rows.count, t_.dot_rows);
    for (int64_t c = 0; c < p_.c; c += per_block_) {
      const int64_t channels = std::min(per_block_, p_.c - c), terms = channels * taps_;
      const Planar<T> x = planar(x_, n, group * p_.c + c, channels, x_extent, s.x_image, t_);
      lower(x, channels, axes_, box, shape, s.lowered, t_);
      const int64_t col_tiles = ceil_div(terms, t_.dot_cols);
      for (int64_t z = 0; z < box.count[0]; ++z)
        for (int64_t q = 0; q < row_tiles; ++q) {
          const Part tile = part_of(rows.count, row_tiles, q);
          for (int64_t r = 0; r < tile.count; ++r) s.row_offsets[r] = (tile.begin + r) * g_channel;
          for (int64_t k = 0; k < col_tiles; ++k) {
            const Part cols = part_of(terms, col_tiles, k);
            t_.dot[tile.count - 1][cols.count - 1](
                {run, g_data + z * g_slice, s.row_offsets, s.lowered + z * shape.rows_y * shape.row,
                 s.offsets + cols.begin, sums + tile.begin * p_.c * taps_ + c * taps_ + cols.begin,
                 p_.c * taps_, true});
          }
        }
    }
  }

  const ConvParams& p_;
  const View &gw_, &g_, &x_;
  const GemmTable<T>& t_;
  const int64_t taps_;
  AxisPlan axes_[3], outs_[3];
  Boxes boxes_;
  int64_t per_block_, items_, sums_, slices_, row_parts_;
  T* partial_ = nullptr;
};

}  // namespace

template <class T>
bool weight_grad(const ConvParams& p, const View* views) {
  return WeightGrad<T>(p, views, gemm_table(*kernels().gemm, T())).run();
}

template bool weight_grad<float>(const ConvParams&, const View*);
template bool weight_grad<double>(const ConvParams&, const View*);

}  // namespace tg

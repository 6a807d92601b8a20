// gw[o, c, tap] = sum over images and positions of g[n, o, p] x[n, c, at(tap) + p * stride]. The
// images are cut into slices whose number depends on the shape alone; each slice has sums of its
// own, which are added in order, so that threads never change a bit.
#include "ops/conv/weight_grad.h"

#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kSlices = 16, kFewSlices = 4;
constexpr int64_t kSliceBytes = 64 << 20;     // of all sums together
constexpr int64_t kVectorBytes = 512 << 10;   // of sums whose lanes stay apart until the end
constexpr int64_t kLoweredBytes = 384 << 10;  // of a block of channels of one box
constexpr int64_t kPositions = 2048;  // of one box: a row of dot products in the first cache
constexpr int64_t kBlockChannels = 32;
constexpr int64_t kProductRows = 48;  // output channels worth packing the lowered source for
constexpr int64_t kPartRows = 24;     // of a thread's product: with fewer, gemm sums in other ways
constexpr int64_t kProductRun = 512;  // longer runs are dot products all the same
constexpr int64_t kLongRun = 1024;
constexpr double kPerThread = 1 << 19;  // multiply-adds worth waking a thread for

// How a box adds to its sums: dot products whose lanes are added up per box, or only at the end
// where all lanes fit a cache, or a matrix product of packed operands.
enum class Sums { dots, vectors, product };

template <class T>
class WeightGrad {
 public:
  // pairs: of images; p.n counts them.
  WeightGrad(const ConvParams& p, const View* v, const GemmTable<T>& t, bool pairs)
      : p_(p), gw_(v[0]), g_(v[1]), x_(v[2]), t_(t), pairs_(pairs), taps_(p.taps()) {
    AxisTaps taps[3], outs[3];
    for (int i = 0; i < 3; ++i) {
      taps[i] = taps_of(p, i);
      outs[i] = {p.out[i], 1, p.out[i], {0}, {0}};
    }
    sums_ = p.groups * p.o * p.c * taps_;
    if (times(sums_ / p.groups, t.lanes * int64_t(sizeof(T))) <= kVectorBytes)
      mode_ = Sums::vectors;
    else if (p.o >= kProductRows && p.pixels() < kProductRun)
      mode_ = Sums::product;
    lowering_ = lower_apart(taps, p.n);
    const int64_t images = lowering_.images;
    if (mode_ != Sums::product) {
      const auto run_cost = [&](int64_t run) {
        return double(p.o) * double(ceil_div(run, t.lanes)) / 2;
      };
      lowering_ =
          plan_lowering(taps, p.n, t.lanes, run_cost, double(p.o) / double(p.c) / double(t.lanes));
    }
    // Rows of g that follow each other are read as they lie, unless all of a box is to be one run.
    const bool gathered =
        mode_ == Sums::product ? images > 1 || p.out[0] > 1 : images > 1 && lowering_.one_run();
    g_in_place_ = is_planar<T>(g_) && !gathered &&
                  (p.out[1] == 1 || g_.strides[3] == p.out[2] * int64_t(sizeof(T)));
    lowering_.images = images;
    g_lowering_ = lower_shared(outs);
    g_lowering_.images = lowering_.images;
    // Fewer channels at a time leave room for longer runs, which the sums over lanes weigh less on.
    for (per_block_ = std::min(kBlockChannels, p.c);; per_block_ = ceil_div(per_block_, 2)) {
      boxes_ = Boxes(lowering_, times(per_block_ * int64_t(sizeof(T)), lowering_.planes()),
                     kLoweredBytes, kPositions);
      const int64_t run = boxes_.largest()[1] * boxes_.largest()[2];
      if (per_block_ == 1 || mode_ == Sums::product ||
          run >= std::min(kLongRun, p.out[1] * p.out[2]))
        break;
    }
    items_ = ceil_div(p.n, lowering_.images) * boxes_.count();
    const int64_t bytes = times(sums_, sizeof(T));
    slices_ = std::min({kSlices, items_, std::max<int64_t>(1, kSliceBytes / bytes)});
    if (mode_ == Sums::vectors)  // adding up the lanes of a slice must pay
      slices_ = std::min(slices_, std::max(kFewSlices, p.n * ceil_div(p.pixels(), t.lanes) / 128));
    // Where there are few slices, threads share the output channels as well.
    const int64_t wanted = ceil_div(4 * num_threads(), slices_ * p.groups);
    const int64_t fewest = mode_ == Sums::product ? kPartRows : 4 * t.dot_rows;
    row_parts_ = std::max<int64_t>(1, std::min(wanted, p.o / fewest));
  }

  bool run() {
    const Scratch partial(times(slices_, times(sums_, sizeof(T))));
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
  struct Space {  // the working memory of one thread
    T *lowered, *x_image, *g_image, *g_rows, *vectors;
    int64_t *offsets, *row_offsets;
    LoweredBox x, g;  // of the box at hand
  };

  bool run_parts(int64_t begin, int64_t end) {
    const int64_t lowered = LoweredBox::channel_size(lowering_, boxes_.largest());
    const int64_t terms = per_block_ * taps_, *counts = boxes_.largest();
    const int64_t positions = times(counts[0] * counts[1] * counts[2], lowering_.images);
    const int64_t most_rows = ceil_div(p_.o, row_parts_);
    const int64_t x_rows = is_planar<T>(x_) ? 0 : most_source_rows(lowering_, boxes_);
    const int64_t g_rows = is_planar<T>(g_) ? 0 : most_source_rows(g_lowering_, boxes_);
    const bool vectors = mode_ == Sums::vectors;
    const int64_t sizes[] = {bytes_of<T>(times(per_block_, lowered)),
                             bytes_of<T>(times(times(per_block_, x_rows), x_.shape[4])),
                             bytes_of<T>(times(times(most_rows, g_rows), g_.shape[4])),
                             g_in_place_ ? 0 : bytes_of<T>(times(most_rows, positions)),
                             vectors ? bytes_of<T>(most_rows * p_.c * taps_ * t_.lanes) : 0,
                             bytes_of<int64_t>(terms + kMaxDotRows)};
    int64_t at[7] = {0};
    for (int i = 0; i < 6; ++i) at[i + 1] = at[i] + sizes[i];
    const Scratch scratch(at[6]);
    if (!scratch) return false;
    Space s{scratch.template at<T>(at[0]),      scratch.template at<T>(at[1]),
            scratch.template at<T>(at[2]),      scratch.template at<T>(at[3]),
            scratch.template at<T>(at[4]),      scratch.template at<int64_t>(at[5]) + kMaxDotRows,
            scratch.template at<int64_t>(at[5])};
    bool ok = true;
    for (int64_t i = begin; i < end; ++i) {
      const Part rows = part_of(p_.o, row_parts_, i % row_parts_);
      const int64_t group = i / row_parts_ % p_.groups, slice = i / row_parts_ / p_.groups;
      const int64_t count = rows.count * p_.c * taps_;
      T* const sums = partial_ + slice * sums_ + (group * p_.o + rows.begin) * p_.c * taps_;
      if (vectors)
        fill_zero(s.vectors, count * t_.lanes);
      else
        fill_zero(sums, count);
      const Part items = part_of(items_, slices_, slice);
      for (int64_t k = items.begin; k < items.end(); ++k)
        ok = add_item(k / boxes_.count() * lowering_.images, k % boxes_.count(), group, rows,
                      vectors ? s.vectors : sums, &s) &&
             ok;
      if (vectors) t_.fold(s.vectors, sums, count);
    }
    return ok;
  }

  Source source(const View& v) const { return {v, pairs_ ? Source::images : Source::none}; }

  // The rows of g that belong to a box: element (row, image, slice z, position of the slice).
  struct Rows {
    const T* data;
    int64_t row, image, slice;
  };
  Rows rows_of_g(int64_t n, int64_t first, int64_t count, const Space& s) const {
    const Box& box = s.g.box;
    for (int64_t i = 0; i < s.g.images; ++i) {
      const Planar<T> g = planar(source(g_), n + i, first, count, s.g, s.g_image);
      if (g_in_place_)
        return {g.data + box.begin[0] * g.slice + box.begin[1] * g.line + box.begin[2], g.channel,
                g_.strides[0] / int64_t(sizeof(T)), g.slice};
      lower(g, count, g_lowering_.axes, s.g, s.g_rows + i * s.g.image, t_);
    }
    return {s.g_rows, s.g.channel, s.g.image, box.count[1] * box.count[2]};
  }

  bool add_item(int64_t n, int64_t index, int64_t group, Part rows, T* sums, Space* space) const {
    const int64_t images = std::min(lowering_.images, p_.n - n);
    Space& s = *space;
    if (s.x.index != index || s.x.images != images) {
      s.x = LoweredBox(lowering_, boxes_, index, images);
      s.g = LoweredBox(g_lowering_, boxes_, index, images);
      for (int64_t c = 0; c < per_block_; ++c)
        for (int64_t t = 0; t < taps_; ++t)
          s.offsets[c * taps_ + t] = c * s.x.channel + s.x.taps[t];
    }
    const Box& box = s.x.box;
    const Rows g = rows_of_g(n, group * p_.o + rows.begin, rows.count, s);
    bool ok = true;
    for (int64_t c = 0; c < p_.c; c += per_block_) {
      const int64_t channels = std::min(per_block_, p_.c - c);
      for (int64_t i = 0; i < images; ++i) {
        const Planar<T> x = planar(source(x_), n + i, group * p_.c + c, channels, s.x, s.x_image);
        lower(x, channels, lowering_.axes, s.x, s.lowered + i * s.x.image, t_);
      }
      if (mode_ == Sums::product) {
        ok = multiply(g, rows.count, {s.lowered, s.x.plane, 1}, channels * taps_,
                      images * box.size(), sums + c * taps_) &&
             ok;
        continue;
      }
      // Positions that follow each other in both operands are one run.
      const bool one_run = lowering_.one_run() && !g_in_place_;
      const int64_t slices = one_run ? 1 : box.count[0];
      for (int64_t z = 0; z < slices; ++z) {
        DotArgs<T> d;
        d.len = one_run ? images * box.size() : box.count[1] * box.count[2];
        d.runs = one_run ? 1 : images;
        d.a = g.data + z * g.slice;
        d.a_pitch = g.image;
        d.b = s.lowered + z * s.x.rows_y * s.x.row;
        d.b_pitch = s.x.image;
        add_dots(d, g.row, rows.count, channels * taps_, c * taps_, sums, s);
      }
    }
    return ok;
  }

  bool multiply(const Rows& g, int64_t rows, const GemmSource<T>& x, int64_t terms, int64_t run,
                T* sums) const {
    Gemm<T> product;
    product.table = &t_;
    product.m = rows;
    product.n = terms;
    product.k = run;
    product.a = {g.data, g.row, 1};
    product.b = x;
    product.c = {sums, p_.c * taps_, 1};
    product.accumulate = true;
    return gemm(product);
  }

  // All tiles of rows of g and terms of x; d holds the operands.
  void add_dots(DotArgs<T> d, int64_t g_row, int64_t rows, int64_t terms, int64_t first, T* sums,
                const Space& s) const {
    const int64_t row_tiles = ceil_div(rows, t_.dot_rows), col_tiles = ceil_div(terms, t_.dot_cols);
    d.a_offset = s.row_offsets;
    d.ld = p_.c * taps_;
    d.accumulate = true;
    d.vectors = mode_ == Sums::vectors;
    for (int64_t q = 0; q < row_tiles; ++q) {
      const Part tile = part_of(rows, row_tiles, q);
      for (int64_t r = 0; r < tile.count; ++r) s.row_offsets[r] = (tile.begin + r) * g_row;
      for (int64_t k = 0; k < col_tiles; ++k) {
        const Part cols = part_of(terms, col_tiles, k);
        d.b_offset = s.offsets + cols.begin;
        d.out = sums + (tile.begin * d.ld + first + cols.begin) * (d.vectors ? t_.lanes : 1);
        t_.dot[tile.count - 1][cols.count - 1](d);
      }
    }
  }

  const ConvParams& p_;
  const View &gw_, &g_, &x_;
  const GemmTable<T>& t_;
  const bool pairs_;
  const int64_t taps_;
  Sums mode_ = Sums::dots;
  bool g_in_place_;
  Lowering lowering_, g_lowering_;
  Boxes boxes_;
  int64_t per_block_, items_, sums_, slices_, row_parts_;
  T* partial_ = nullptr;
};

}  // namespace

template <class T>
bool weight_grad(const ConvParams& p, const View* views) {
  const GemmTable<T>* table = &gemm_table(*kernels().gemm, T());
  ConvParams some = p;
  const bool pairs = sums_pairs(p);
  if constexpr (std::is_same_v<T, float>)
    if (pairs) {
      table = &kernels().gemm->pairs->gemm;
      some.n = ceil_div(p.n, 2);
    }
  return WeightGrad<T>(some, views, *table, pairs).run();
}

template bool weight_grad<float>(const ConvParams&, const View*);
template bool weight_grad<double>(const ConvParams&, const View*);

}  // namespace tg

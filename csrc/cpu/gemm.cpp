// The loops around the register tiles: blocks of B and A are packed into panels that stay in the
// caches (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#include "cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kTilesPerBlock = 24;    // tiles of A in a block of the second-level cache
constexpr int64_t kBlockBytes = 1 << 20;  // packed B
constexpr int64_t kPieceTerms = 8;        // terms packed of one tile before the next
constexpr int64_t kSinkCols = 1024;       // columns of C that are finished before being stored
constexpr int64_t kDotTerms = 4096;       // terms of one chain of dot products
constexpr int64_t kFewRows = 4;           // so few rows are dot products where k is contiguous,
constexpr int64_t kSomeRows = 16;         // and so many where there are
constexpr int64_t kManyTerms = 96;        // this many terms
constexpr int64_t kFewCols = 1024;        // columns summed at a time where B passes by
constexpr int64_t kFewGrain = 128;
constexpr int64_t kInPlaceCols = 256;  // so many columns of a row-major B are read where they lie
constexpr int64_t kSmallProduct = int64_t(1) << 20;  // multiply-adds for which A is not packed
constexpr int64_t kPerThread = int64_t(1) << 19;     // multiply-adds worth waking a thread for

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// What the sums of the block of terms from p on are added to, for the element at (row, col).
template <class T>
void addend(const Gemm<T>& g, TileSink<T>* args, int64_t p, int64_t row, int64_t col) {
  args->add = nullptr;
  args->add_row = 0;
  args->add_lanes = true;
  if (p > 0 || g.accumulate) {
    args->add = args->c;
    args->add_row = args->ldc;
  } else if (g.row_bias != nullptr) {
    args->add = g.row_bias + row;
    args->add_row = 1;
    args->add_lanes = false;
  } else if (g.col_bias != nullptr) {
    args->add = g.col_bias + col;
  }
}

template <class T>
class Block {
 public:
  Block(const Gemm<T>& g, const GemmTable<T>& t, Range rows, Range cols)
      : g_(g), t_(t), rows_(rows), cols_(cols) {
    direct_c_ = g.c.store == nullptr && g.c.col_stride == 1;
    // B is read in place where its rows are contiguous and too few tiles would use the packed copy;
    // fewer still where every row lies in a memory page of its own.
    const int64_t tiles = g.b.k_stride * int64_t(sizeof(T)) <= 4096 ? 5 : 1;
    direct_b_ = g.b.pack == nullptr && g.b.lane_stride == 1 &&
                (g.b_in_place || rows.size() <= tiles * t.rows);
    mc_ = std::min(kTilesPerBlock * t.rows, rows.size());
    const int64_t most = direct_c_ ? kBlockBytes / int64_t(sizeof(T)) / t.kc : kSinkCols;
    nc_ = std::min(ceil_div(most, t.full), ceil_div(cols.size(), t.full)) * t.full;
    kc_ = std::min<int64_t>(t.kc, g.k);
  }

  bool run() {
    const int64_t b_cols = direct_b_ ? t_.full : nc_;
    const int64_t a_bytes = bytes_of<T>(mc_ * kc_);
    const int64_t b_bytes = bytes_of<T>(b_cols * kc_);
    const int64_t c_bytes = direct_c_ ? 0 : bytes_of<T>(mc_ * nc_);
    const Scratch scratch(a_bytes + b_bytes + c_bytes + 2 * kc_ * int64_t(sizeof(int64_t)));
    if (!scratch) return false;
    packed_a_ = scratch.template at<T>(0);
    packed_b_ = scratch.template at<T>(a_bytes);
    T* const c = scratch.template at<T>(a_bytes + b_bytes);
    packed_rows_ = scratch.template at<int64_t>(a_bytes + b_bytes + c_bytes);
    rows_of_b_ = packed_rows_ + kc_;
    for (int64_t p = 0; p < kc_; ++p) {
      packed_rows_[p] = p * t_.full;
      rows_of_b_[p] = p * g_.b.k_stride;
    }
    for (int64_t j = cols_.begin; j < cols_.end; j += nc_) {
      const Range cols{j, std::min(cols_.end, j + nc_)};
      if (direct_c_) {
        sum(rows_, cols, g_.c.data, g_.c.row_stride, 0, 0);
        continue;
      }
      for (int64_t i = rows_.begin; i < rows_.end; i += mc_) {
        const Range rows{i, std::min(rows_.end, i + mc_)};
        if (g_.accumulate) copy_in(c, rows, cols);
        sum(rows, cols, c, nc_, rows.begin, cols.begin);
        if (g_.c.store != nullptr)
          g_.c.store(g_.c.context, c, nc_, rows.begin, rows.size(), cols.begin, cols.size());
        else
          copy_out(c, rows, cols);
      }
    }
    return true;
  }

 private:
  // All terms of C[rows, cols]; element (i, j) lies at c[(i - row0) * ldc + j - col0].
  void sum(Range rows, Range cols, T* c, int64_t ldc, int64_t row0, int64_t col0) {
    for (int64_t p = 0; p < g_.k; p += t_.kc) {
      const int64_t terms = std::min<int64_t>(t_.kc, g_.k - p);
      if (!direct_b_)
        for_pieces(g_.b, terms, [&](int64_t from, int64_t count) {
          for (int64_t j = cols.begin; j < cols.end; j += t_.full)
            pack(g_.b, packed_b_ + (j - cols.begin) * kc_ + from * t_.full, t_.full, j,
                 std::min<int64_t>(t_.full, cols.end - j), p + from, count);
        });
      for (int64_t i = rows.begin; i < rows.end; i += mc_) {
        const Range block{i, std::min(rows.end, i + mc_)};
        const int64_t tiles = ceil_div(block.size(), t_.rows);
        for_pieces(g_.a, terms, [&](int64_t from, int64_t count) {
          for (int64_t q = 0; q < tiles; ++q) {
            const Part tile = part_of(block.size(), tiles, q);
            pack(g_.a, packed_a_ + tile.begin * terms + from * tile.count, tile.count,
                 i + tile.begin, tile.count, p + from, count);
          }
        });
        tiles_of(block, cols, p, terms, c + (i - row0) * ldc - col0, ldc);
      }
    }
  }

  // Calls f for the terms of an operand piece by piece: of lanes that lie side by side, all tiles
  // take a few terms at a time, so that memory is read in order.
  template <class F>
  static void for_pieces(const GemmSource<T>& s, int64_t terms, F f) {
    const int64_t piece = s.pack == nullptr && s.lane_stride == 1 ? kPieceTerms : terms;
    for (int64_t from = 0; from < terms; from += piece) f(from, std::min(piece, terms - from));
  }

  void tiles_of(Range rows, Range cols, int64_t p, int64_t terms, T* c, int64_t ldc) {
    const int64_t tiles = ceil_div(rows.size(), t_.rows);
    const bool wide = direct_b_ && rows.size() <= t_.wide_rows;
    TileArgs<T> args;
    args.k = terms;
    args.ldc = ldc;
    // Rows that lie in pages of their own are not foreseen by the processor.
    const bool far = direct_b_ && g_.b.k_stride * int64_t(sizeof(T)) >= 1024;
    for (int64_t j = cols.begin, n; j < cols.end; j += n) {
      n = std::min<int64_t>(cols.end - j, wide ? t_.wide : t_.full);
      if (wide && n < t_.wide) n = std::min<int64_t>(n, t_.full);
      const int64_t width = n > t_.full ? t_.wide : n > t_.narrow ? t_.full : t_.narrow;
      if (!direct_b_) {
        args.b = packed_b_ + (j - cols.begin) * kc_;
        args.offset = packed_rows_;
      } else if (n == width) {
        args.b = g_.b.data + p * g_.b.k_stride + j;
        args.offset = rows_of_b_;
        args.ahead = far && cols.end - j >= 3 * n ? 2 * n : 0;
      } else {  // whole vectors would read past the end of a row
        pack(g_.b, packed_b_, t_.full, j, n, p, terms);
        args.b = packed_b_;
        args.offset = packed_rows_;
      }
      const auto* kernels = width == t_.wide   ? t_.tile_wide
                            : width == t_.full ? t_.tile_full
                                               : t_.tile_narrow;
      args.n = n;
      for (int64_t q = 0; q < tiles; ++q) {
        const Part tile = part_of(rows.size(), tiles, q);
        args.a = packed_a_ + tile.begin * terms;
        args.c = c + tile.begin * ldc + j;
        addend<T>(g_, &args, p, rows.begin + tile.begin, j);
        kernels[tile.count - 1](args);
      }
    }
  }

  void pack(const GemmSource<T>& s, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
            int64_t k) const {
    if (s.pack != nullptr)
      s.pack(s.context, dst, ld, lane, count, term, k);
    else
      t_.pack(dst, ld, s.data + lane * s.lane_stride + term * s.k_stride, s.lane_stride, s.k_stride,
              count, k);
    for (int64_t p = 0; p < k && count < ld; ++p)  // tiles read whole vectors
      std::fill(dst + p * ld + count, dst + (p + 1) * ld, T(0));
  }

  void copy_in(T* c, Range rows, Range cols) const {
    for (int64_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < cols.size(); ++j)
        c[i * nc_ + j] =
            g_.c.data[(rows.begin + i) * g_.c.row_stride + (cols.begin + j) * g_.c.col_stride];
  }
  void copy_out(const T* c, Range rows, Range cols) const {
    for (int64_t i = 0; i < rows.size(); ++i)
      for (int64_t j = 0; j < cols.size(); ++j)
        g_.c.data[(rows.begin + i) * g_.c.row_stride + (cols.begin + j) * g_.c.col_stride] =
            c[i * nc_ + j];
  }

  const Gemm<T>& g_;
  const GemmTable<T>& t_;
  const Range rows_, cols_;
  bool direct_c_, direct_b_;
  int64_t mc_, nc_, kc_;
  T *packed_a_, *packed_b_;
  int64_t *packed_rows_, *rows_of_b_;
};

// Few rows against many columns, k contiguous in B: dot products straight from memory.
template <class T>
bool dot_products(const Gemm<T>& g, const GemmTable<T>& t) {
  const Scratch turned(g.a.k_stride == 1 ? 0 : g.m * g.k * int64_t(sizeof(T)));
  if (!turned) return false;
  const T* a = g.a.data;
  int64_t a_stride = g.a.lane_stride;
  if (g.a.k_stride != 1) {
    T* const copy = turned.template at<T>(0);
    t.pack(copy, g.k, g.a.data, g.a.k_stride, g.a.lane_stride, g.k, g.m);
    a = copy;
    a_stride = g.k;
  }
  const int64_t grain = std::max<int64_t>(t.dot_cols, kPerThread / (g.m * g.k));
  parallel_for(g.n, ceil_div(grain, t.dot_cols) * t.dot_cols, [&](int64_t begin, int64_t end) {
    int64_t a_offset[kMaxDotRows], b_offset[kMaxDotCols];
    T sums[kMaxDotRows * kMaxDotCols];
    for (int64_t i = 0; i < g.m; i += t.dot_rows) {
      const int64_t rows = std::min<int64_t>(t.dot_rows, g.m - i);
      for (int64_t j = begin; j < end; j += t.dot_cols) {
        const int64_t cols = std::min<int64_t>(t.dot_cols, end - j);
        for (int64_t p = 0; p < g.k; p += kDotTerms) {
          for (int64_t r = 0; r < rows; ++r) a_offset[r] = (i + r) * a_stride + p;
          for (int64_t c = 0; c < cols; ++c) b_offset[c] = (j + c) * g.b.lane_stride + p;
          t.dot[rows - 1][cols - 1]({std::min(kDotTerms, g.k - p), 1, a, a_offset, 0, g.b.data,
                                     b_offset, 0, sums, kMaxDotCols, p > 0, false});
        }
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < cols; ++c) {
            T& out = g.c.data[(i + r) * g.c.row_stride + (j + c) * g.c.col_stride];
            const T sum = sums[r * kMaxDotCols + c];
            out = g.accumulate            ? out + sum
                  : g.row_bias != nullptr ? sum + g.row_bias[i + r]
                  : g.col_bias != nullptr ? sum + g.col_bias[j + c]
                                          : sum;
          }
      }
    }
  });
  return true;
}

// The operands are read where they lie, B turned over first where it has to be: a row of tiles at a
// time, whose part of A stays in the first-level cache.
template <class T>
bool in_place(const Gemm<T>& g, const GemmTable<T>& t) {
  const bool packed = g.n > 1 && g.b.lane_stride != 1;
  const int64_t pitch = packed ? ceil_div(g.n, t.lanes) * t.lanes : g.b.k_stride;
  const Scratch scratch(packed ? g.k * pitch * int64_t(sizeof(T)) : 0);
  if (!scratch) return false;
  const T* b = g.b.data;
  if (packed) {
    t.pack(scratch.template at<T>(0), pitch, b, g.b.lane_stride, g.b.k_stride, g.n, g.k);
    b = scratch.template at<T>(0);
  }
  const bool terms = g.m > 1 && g.a.lane_stride != 1;
  const int64_t tiles = ceil_div(g.m, t.rows);
  const int64_t grain = 1 + kPerThread / (t.rows * g.n * g.k);
  parallel_for(tiles, grain, [&](int64_t begin, int64_t end) {
    PlainTile<T> args;
    args.a_pitch = terms ? g.a.lane_stride : g.a.k_stride;
    args.b_pitch = pitch;
    args.ldc = g.c.row_stride;
    for (int64_t q = begin; q < end; ++q) {
      const Part tile = part_of(g.m, tiles, q);
      for (int64_t p = 0; p < g.k; p += t.kc) {
        args.k = std::min<int64_t>(t.kc, g.k - p);
        args.a = g.a.data + tile.begin * g.a.lane_stride + p * g.a.k_stride;
        for (int64_t j = 0; j < g.n; j += args.n) {
          args.n = std::min<int64_t>(g.n - j, t.full);
          args.b = b + p * pitch + j;
          args.c = g.c.data + tile.begin * g.c.row_stride + j;
          addend<T>(g, &args, p, tile.begin, j);
          const auto* kernels = (args.n > t.narrow ? t.plain_full : t.plain_narrow)[terms];
          kernels[tile.count - 1](args);
        }
      }
    }
  });
  return true;
}

// Whether packing would take longer than it saves.
template <class T>
bool is_better_in_place(const Gemm<T>& g) {
  const bool flat = g.n == 1 || g.b.lane_stride == 1;
  const bool rows = g.m == 1 || g.a.lane_stride == 1;
  if (!rows && g.a.k_stride != 1) return false;
  const bool small = double(g.m) * double(g.n) * double(g.k) <= double(kSmallProduct);
  if (small) return flat || g.m >= 8;
  // Lines of a page's distance take each other's place in the first-level cache.
  const int64_t pitch = (rows ? g.a.k_stride : g.a.lane_stride) * int64_t(sizeof(T));
  const bool apart = rows ? std::abs(pitch) <= 4096 : pitch % 4096 != 0;
  return flat && apart && g.n <= kInPlaceCols;
}

// At most kMaxFewRows rows: B passes by once, in the order of memory; the sums stay in the caches.
template <class T>
bool few_rows(const Gemm<T>& g, const GemmTable<T>& t) {
  const int64_t grain = ceil_div(std::max(kFewGrain, kPerThread / (g.m * g.k)), t.full) * t.full;
  parallel_for(g.n, grain, [&](int64_t begin, int64_t end) {
    T sums[kMaxFewRows * kFewCols];
    for (int64_t j = begin; j < end; j += kFewCols) {
      const int64_t n = std::min(kFewCols, end - j);
      for (int64_t p = 0; p < g.k; p += t.kc) {
        for (int64_t i = 0; i < g.m; ++i) std::fill_n(sums + i * kFewCols, n, T(0));
        t.few_rows[g.m - 1]({std::min<int64_t>(t.kc, g.k - p), n, g.a.data + p * g.a.k_stride,
                             g.a.lane_stride, g.a.k_stride, g.b.data + p * g.b.k_stride + j,
                             g.b.k_stride, sums, kFewCols});
        for (int64_t i = 0; i < g.m; ++i) {
          TileSink<T> c{g.c.data + i * g.c.row_stride + j, 0, n, nullptr, 0, true};
          addend(g, &c, p, i, j);
          const T* const sum = sums + i * kFewCols;
          if (c.add == nullptr)
            for (int64_t q = 0; q < n; ++q) c.c[q] = sum[q];
          else if (c.add_lanes)
            for (int64_t q = 0; q < n; ++q) c.c[q] = sum[q] + c.add[q];
          else
            for (int64_t q = 0; q < n; ++q) c.c[q] = sum[q] + *c.add;
        }
      }
    }
  });
  return true;
}

// k = 0: C is the bias.
template <class T>
bool nothing_to_sum(const Gemm<T>& g) {
  if (g.accumulate) return true;
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      const T value = g.row_bias != nullptr   ? g.row_bias[i]
                      : g.col_bias != nullptr ? g.col_bias[j]
                                              : T(0);
      if (g.c.store != nullptr)
        g.c.store(g.c.context, &value, 1, i, 1, j, 1);
      else
        g.c.data[i * g.c.row_stride + j * g.c.col_stride] = value;
    }
  return true;
}

// C^T = B^T A^T.
template <class T>
Gemm<T> turned_over(const Gemm<T>& g) {
  Gemm<T> t = g;
  std::swap(t.m, t.n);
  std::swap(t.a, t.b);
  std::swap(t.c.row_stride, t.c.col_stride);
  std::swap(t.row_bias, t.col_bias);
  return t;
}

// The grid of blocks, one per thread, with the least packing done twice.
template <class T>
void choose_grid(const Gemm<T>& g, const GemmTable<T>& t, int64_t* down, int64_t* across) {
  const int64_t row_tiles = ceil_div(g.m, t.rows), col_tiles = ceil_div(g.n, t.full);
  const double per_thread = double(g.m) * double(g.n) * double(g.k) / double(kPerThread);
  const int64_t threads = int64_t(std::min(double(num_threads()), std::max(per_thread, 1.0)));
  double best = 0;
  *down = *across = 1;
  for (int64_t rows = 1; rows <= std::min(threads, row_tiles); ++rows) {
    const int64_t cols = std::min(threads / rows, col_tiles);
    const double height = double(ceil_div(row_tiles, rows) * t.rows);
    const double width = double(ceil_div(col_tiles, cols) * t.full);
    // A packed element costs about as much as lanes multiply-adds.
    const double cost = height * width + t.lanes * (height + width);
    if (best != 0 && cost >= best) continue;
    best = cost;
    *down = rows;
    *across = cols;
  }
}

}  // namespace

template <class T>
bool gemm(const Gemm<T>& problem) {
  if (problem.m == 0 || problem.n == 0) return true;
  if (problem.k == 0) return nothing_to_sum(problem);
  const GemmTable<T>& t =
      problem.table != nullptr ? *problem.table : gemm_table(*kernels().gemm, T());
  if (problem.way == GemmWay::dot) return dot_products(problem, t);
  if (problem.way == GemmWay::few_rows) return few_rows(problem, t);
  if (problem.way == GemmWay::in_place) return in_place(problem, t);
  Gemm<T> g = problem;
  const bool plain = g.a.pack == nullptr && g.b.pack == nullptr && g.c.store == nullptr &&
                     g.way != GemmWay::packed;
  if (plain) {
    const Gemm<T> d = g.n < g.m ? turned_over(g) : g;
    const bool few = d.m <= kFewRows || (d.m <= kSomeRows && d.k >= kManyTerms);
    if (few && d.b.k_stride == 1 && d.b.lane_stride != 1) return dot_products(d, t);
    if (d.m <= kFewRows) g = d;
  }
  if (g.c.store == nullptr && g.c.col_stride != 1 && g.c.row_stride == 1) g = turned_over(g);
  if (g.n == 1 && plain) g.c.col_stride = 1;
  if (plain && g.c.col_stride == 1) {
    const bool flat = g.b.lane_stride == 1;
    if (flat && g.m <= kMaxFewRows && g.n >= 2 * t.full) return few_rows(g, t);
    if (is_better_in_place(g)) return in_place(g, t);
  }
  int64_t down, across;
  choose_grid(g, t, &down, &across);
  const int64_t row_tiles = ceil_div(g.m, t.rows), col_tiles = ceil_div(g.n, t.full);
  std::atomic<bool> ok{true};
  const int64_t worth = 1 + int64_t(double(g.m) * double(g.n) * double(g.k) / double(kPerThread));
  parallel_for(
      down * across, 1,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const Part rows = part_of(row_tiles, down, i / across);
          const Part cols = part_of(col_tiles, across, i % across);
          Block<T> block(g, t, {rows.begin * t.rows, std::min(g.m, rows.end() * t.rows)},
                         {cols.begin * t.full, std::min(g.n, cols.end() * t.full)});
          if (!block.run()) ok.store(false, std::memory_order_relaxed);
        }
      },
      worth);
  return ok.load();
}

template bool gemm<float>(const Gemm<float>&);
template bool gemm<double>(const Gemm<double>&);

}  // namespace tg

#include "cpu/gemm_plain.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "core/parallel.h"
#include "core/parts.h"

namespace tg {
namespace {

constexpr int64_t kDotTerms = 1024;    // of rows that meet many others, in the caches
constexpr int64_t kFewCols = 8192;     // of one row of sums, in the caches
constexpr int64_t kInPlaceCols = 256;  // so many columns of a row-major B are read where they lie
constexpr int64_t kSmallProduct = int64_t(1) << 20;  // multiply-adds for which A is not packed

}  // namespace

// Whether dot products, whose lanes are terms, take less time than tiles, whose lanes are columns
// and for which B is turned over. All in vectors.
template <class T>
bool is_better_as_dots(const Gemm<T>& g, const GemmTable<T>& t) {
  constexpr double kFold = 6, kTurn = 6;  // the sum of the lanes; turning over in memory
  const double k = double(ceil_div(g.k, t.lanes)), m = double(g.m), n = double(g.n);
  const double dots = k + kFold * double(ceil_div(g.k, kDotTerms));
  const double tiles = double(g.k) * double(ceil_div(g.n, t.lanes)) / n + kTurn * k / m;
  return dots + (g.a.k_stride == 1 ? 0 : kTurn * k / n) < tiles;
}

// Few rows, k contiguous in B: dot products straight from memory. Terms of all rows of A and of the
// columns of a tile stay in the caches.
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
  const int64_t most = g.m > t.dot_rows ? kDotTerms : 4 * kDotTerms;  // terms of one chain
  const int64_t grain = std::max<int64_t>(t.dot_cols, kPerThread / (g.m * g.k));
  parallel_for(g.n, ceil_div(grain, t.dot_cols) * t.dot_cols, [&](int64_t begin, int64_t end) {
    int64_t a_offset[kMaxDotRows], b_offset[kMaxDotCols];
    T sums[kMaxDotRows * kMaxDotCols];
    for (int64_t j = begin; j < end; j += t.dot_cols) {
      const int64_t cols = std::min<int64_t>(t.dot_cols, end - j);
      for (int64_t p = 0; p < g.k; p += most) {
        for (int64_t c = 0; c < cols; ++c) b_offset[c] = (j + c) * g.b.lane_stride + p;
        for (int64_t i = 0; i < g.m; i += t.dot_rows) {
          const int64_t rows = std::min<int64_t>(t.dot_rows, g.m - i);
          for (int64_t r = 0; r < rows; ++r) a_offset[r] = (i + r) * a_stride + p;
          t.dot[rows - 1][cols - 1]({std::min(most, g.k - p), 1, a, a_offset, 0, g.b.data, b_offset,
                                     0, sums, kMaxDotCols, false, false});
          for (int64_t r = 0; r < rows; ++r) {
            T* out = g.c.data + (i + r) * g.c.row_stride + j * g.c.col_stride;
            const bool more = p > 0 || g.accumulate;
            for (int64_t c = 0; c < cols; ++c, out += g.c.col_stride) {
              const T sum = sums[r * kMaxDotCols + c];
              *out = more                    ? *out + sum
                     : g.row_bias != nullptr ? sum + g.row_bias[i + r]
                     : g.col_bias != nullptr ? sum + g.col_bias[j + c]
                                             : sum;
            }
          }
        }
      }
    }
    finish(g, 0, g.m, begin, end - begin);
  });
  return true;
}

// The operands are read where they lie, B turned over first where it has to be: a row of tiles at a
// time, whose part of A stays in the first-level cache.
template <class T>
bool in_place(const Gemm<T>& g, const GemmTable<T>& t) {
  const bool packed = g.n > 1 && g.b.lane_stride != 1;
  const int64_t pitch = packed ? ceil_div(g.n, t.lanes) * t.lanes : g.b.k_stride;
  std::optional<Scratch> scratch;
  const T* b = g.b.data;
  if (packed) {
    scratch.emplace(g.k * pitch * int64_t(sizeof(T)));
    if (!*scratch) return false;
    t.pack(scratch->at<T>(0), pitch, b, g.b.lane_stride, g.b.k_stride, g.n, g.k);
    b = scratch->at<T>(0);
  }
  const bool terms = g.m > 1 && g.a.lane_stride != 1;
  const bool wide = g.m <= t.wide_rows;
  const int64_t tiles = ceil_div(g.m, t.rows), step = wide ? t.wide : t.full;
  const int64_t steps = ceil_div(g.n, step);
  // Columns are shared out too where there are few tiles. Small products are spared the divisions.
  const double pieces = double(g.m) * double(g.n) * double(g.k) / double(kPerThread);
  int64_t runs = 1, grain = tiles;
  if (pieces > 1) {
    runs = std::min(ceil_div(kPartsPerThread * num_threads(), tiles), steps);
    runs = std::min(runs, 1 + int64_t(pieces / double(tiles)));
    grain = std::max<int64_t>(1, int64_t(double(tiles * runs) / pieces / 2));
  }
  const auto some = [&](int64_t begin, int64_t end) {
    PlainTile<T> args;
    args.a_pitch = terms ? g.a.lane_stride : g.a.k_stride;
    args.b_pitch = pitch;
    args.ldc = g.c.row_stride;
    for (int64_t q = begin; q < end; ++q) {
      Part tile{0, g.m}, run{0, steps};
      if (tiles > 1) tile = part_of(g.m, tiles, q / runs);
      if (runs > 1) run = part_of(steps, runs, q % runs);
      const int64_t last = std::min(g.n, run.end() * step);
      for (int64_t p = 0; p < g.k; p += t.kc) {
        args.k = std::min<int64_t>(t.kc, g.k - p);
        args.a = g.a.data + tile.begin * g.a.lane_stride + p * g.a.k_stride;
        for (int64_t j = run.begin * step; j < last; j += args.n) {
          args.n = std::min<int64_t>(last - j, step);
          // The last columns of few rows: three vectors would need tiles of their own.
          if (args.n > t.full && args.n <= t.wide - t.narrow) args.n = t.full;
          args.b = b + p * pitch + j;
          args.c = g.c.data + tile.begin * g.c.row_stride + j;
          addend<T>(g, &args, p, tile.begin, j);
          const auto* kernels = args.n > t.full     ? t.plain_wide[terms]
                                : args.n > t.narrow ? t.plain_full[terms]
                                                    : t.plain_narrow[terms];
          kernels[tile.count - 1](args);
        }
      }
      finish(g, tile.begin, tile.count, run.begin * step, last - run.begin * step);
    }
  };
  if (pieces > 1)
    parallel_for(tiles * runs, grain, some, 1 + int64_t(pieces));
  else
    some(0, tiles);
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

// One row: B passes by once, in the order of memory; the sums stay in the caches. Threads share the
// blocks of terms, whose sums are added at last, and where these are few, the columns.
template <class T>
bool one_row(const Gemm<T>& g, const GemmTable<T>& t) {
  const int64_t blocks = ceil_div(g.k, t.kc), work = times(g.n, g.k) / kPerThread + 1;
  const int64_t wanted = std::min(work, kPartsPerThread * num_threads());
  const int64_t runs = std::max(ceil_div(g.n, kFewCols), ceil_div(wanted, blocks));
  const int64_t cols = ceil_div(ceil_div(g.n, runs), t.full) * t.full, chunks = ceil_div(g.n, cols);
  const Scratch scratch(blocks * g.n * int64_t(sizeof(T)));
  if (!scratch) return false;
  T* const sums = scratch.template at<T>(0);
  const int64_t grain = std::max<int64_t>(1, kPerThread / (cols * std::min<int64_t>(t.kc, g.k)));
  parallel_for(blocks * chunks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t p = i / chunks * t.kc, j = i % chunks * cols, n = std::min(cols, g.n - j);
      T* const to = sums + i / chunks * g.n + j;
      std::fill_n(to, n, T(0));
      t.one_row({std::min<int64_t>(t.kc, g.k - p), n, g.a.data + p * g.a.k_stride, g.a.k_stride,
                 g.b.data + p * g.b.k_stride + j, g.b.k_stride, to});
    }
  });
  for (int64_t block = 0; block < blocks; ++block) {
    TileSink<T> c{g.c.data, 0, g.n, nullptr, 0, true};
    addend(g, &c, block, 0, 0);
    const T* const sum = sums + block * g.n;
    for (int64_t j = 0; j < g.n; ++j)
      c.c[j] = c.add == nullptr ? sum[j] : sum[j] + c.add[c.add_lanes ? j : 0];
  }
  finish(g, 0, 1, 0, g.n);
  return true;
}

template bool is_better_as_dots(const Gemm<float>&, const GemmTable<float>&);
template bool is_better_as_dots(const Gemm<double>&, const GemmTable<double>&);
template bool dot_products(const Gemm<float>&, const GemmTable<float>&);
template bool dot_products(const Gemm<double>&, const GemmTable<double>&);
template bool in_place(const Gemm<float>&, const GemmTable<float>&);
template bool in_place(const Gemm<double>&, const GemmTable<double>&);
template bool one_row(const Gemm<float>&, const GemmTable<float>&);
template bool one_row(const Gemm<double>&, const GemmTable<double>&);
template bool is_better_in_place(const Gemm<float>&);
template bool is_better_in_place(const Gemm<double>&);

}  // namespace tg

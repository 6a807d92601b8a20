#include "cpu/gemm_plain.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "core/parallel.h"
#include "core/parts.h"

namespace tg {
namespace {

constexpr int64_t kDotTerms = 1024;      // of rows that meet many others, in the caches
constexpr int64_t kFewCols = 8192;       // sums of few rows, in the caches
constexpr int64_t kNearBytes = 1 << 16;  // of a B that few rows meet in the first-level cache
constexpr int64_t kInPlaceCols = 256;    // so many columns of a row-major B are read where they lie
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
  const bool direct = g.c.col_stride == 1 && g.row_bias == nullptr && g.col_bias == nullptr;
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
          const bool more = p > 0 || g.accumulate;
          T* const c = g.c.data + i * g.c.row_stride + j * g.c.col_stride;
          t.dot[rows - 1][cols - 1]({std::min(most, g.k - p), 1, a, a_offset, 0, g.b.data, b_offset,
                                     0, direct ? c : sums, direct ? g.c.row_stride : kMaxDotCols,
                                     direct && more, false});
          if (direct) continue;
          for (int64_t r = 0; r < rows; ++r) {
            const T* const sum = sums + r * kMaxDotCols;
            T* const out = c + r * g.c.row_stride;
            const int64_t step = g.c.col_stride;
            if (more)
              for (int64_t q = 0; q < cols; ++q) out[q * step] += sum[q];
            else if (g.row_bias != nullptr)
              for (int64_t q = 0; q < cols; ++q) out[q * step] = sum[q] + g.row_bias[i + r];
            else if (g.col_bias != nullptr)
              for (int64_t q = 0; q < cols; ++q) out[q * step] = sum[q] + g.col_bias[j + q];
            else
              for (int64_t q = 0; q < cols; ++q) out[q * step] = sum[q];
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
      Part tile{0, g.m}, run{0, steps};  // the tiles of a run follow each other: they share its B
      if (tiles > 1) tile = part_of(g.m, tiles, runs > 1 ? q % tiles : q);
      if (runs > 1) run = part_of(steps, runs, q / tiles);
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

// Whether a B of some size is read once, in the order of memory; smaller ones stay in the
// first-level cache anyway.
template <class T>
bool is_better_by_rows(const Gemm<T>& g, const GemmTable<T>& t) {
  if (g.b.lane_stride != 1 || g.m > kFewRows || g.n < 2 * t.full) return false;
  return g.m == 1 || times(g.n, g.k) * int64_t(sizeof(T)) > kNearBytes;
}

// Few rows: B passes by once, in the order of memory; the sums stay in the caches. Threads share
// the blocks of terms, whose sums are added at last, and where these are few, the columns.
template <class T>
bool few_rows(const Gemm<T>& g, const GemmTable<T>& t) {
  const int64_t blocks = ceil_div(g.k, t.kc), work = times(g.n, g.m * g.k) / kPerThread + 1;
  const int64_t wanted = std::min(work, kPartsPerThread * num_threads());
  const int64_t runs = std::max(ceil_div(g.n, kFewCols / g.m), ceil_div(wanted, blocks));
  const int64_t cols = ceil_div(ceil_div(g.n, runs), t.full) * t.full, chunks = ceil_div(g.n, cols);
  const Scratch scratch(times(blocks * g.m, g.n) * int64_t(sizeof(T)));
  if (!scratch) return false;
  T* const sums = scratch.template at<T>(0);
  const int64_t each = g.m * cols * std::min<int64_t>(t.kc, g.k);
  parallel_for(blocks * chunks, std::max<int64_t>(1, kPerThread / each),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t p = i / chunks * t.kc, j = i % chunks * cols;
                   const int64_t n = std::min(cols, g.n - j);
                   T* const to = sums + i / chunks * g.m * g.n + j;
                   for (int64_t row = 0; row < g.m; ++row) fill_zero(to + row * g.n, n);
                   t.few_rows[g.m - 1]({std::min<int64_t>(t.kc, g.k - p), n,
                                        g.a.data + p * g.a.k_stride, g.a.lane_stride, g.a.k_stride,
                                        g.b.data + p * g.b.k_stride + j, g.b.k_stride, to, g.n});
                 }
               });
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t row = 0; row < g.m; ++row) {
      TileSink<T> c{g.c.data + row * g.c.row_stride, 0, g.n, nullptr, 0, true};
      addend(g, &c, block, row, 0);
      const T* const sum = sums + (block * g.m + row) * g.n;
      if (c.add == nullptr)
        std::copy_n(sum, g.n, c.c);
      else if (c.add_lanes)
        for (int64_t j = 0; j < g.n; ++j) c.c[j] = sum[j] + c.add[j];
      else
        for (int64_t j = 0; j < g.n; ++j) c.c[j] = sum[j] + *c.add;
    }
  finish(g, 0, g.m, 0, g.n);
  return true;
}

template bool is_better_as_dots(const Gemm<float>&, const GemmTable<float>&);
template bool is_better_as_dots(const Gemm<double>&, const GemmTable<double>&);
template bool dot_products(const Gemm<float>&, const GemmTable<float>&);
template bool dot_products(const Gemm<double>&, const GemmTable<double>&);
template bool in_place(const Gemm<float>&, const GemmTable<float>&);
template bool in_place(const Gemm<double>&, const GemmTable<double>&);
template bool is_better_by_rows(const Gemm<float>&, const GemmTable<float>&);
template bool is_better_by_rows(const Gemm<double>&, const GemmTable<double>&);
template bool few_rows(const Gemm<float>&, const GemmTable<float>&);
template bool few_rows(const Gemm<double>&, const GemmTable<double>&);
template bool is_better_in_place(const Gemm<float>&);
template bool is_better_in_place(const Gemm<double>&);

}  // namespace tg

// Register tiles of the matrix product. Operands are packed or addressed by an offset per row of B,
// so that convolution reads its input in place (Dukhan, "The Indirect Convolution Algorithm",
// 2019).
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/gemm_pack.h"
#include "cpu/isa/vec.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {

extern const GemmKernels gemm_kernels;

namespace {

// ROWS x COLS accumulators stay in registers for all of k.
template <class T, int ROWS, int COLS>
void tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  V acc[ROWS][COLS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) acc[i][j] = V::set1(T(0));
  const T* a = t.a;
  const T* const base = t.b;
  const int64_t *offset = t.offset, *const end = t.offset + t.k;
  for (; offset != end; ++offset, a += ROWS) {
    const T* b = base + *offset;
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) x[j] = V::load(b + j * V::N);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V y = V::set1(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) acc[i][j] = fma(y, x[j], acc[i][j]);
    }
  }
  const bool whole = t.n == COLS * V::N;
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i) {
    T* c = t.c + i * t.ldc;
    const T* add = t.add + i * t.add_row;
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) {
      const int at = j * V::N;
      if (whole) {
        if (t.add != nullptr)
          acc[i][j] = acc[i][j] + (t.add_lanes ? V::load(add + at) : V::set1(*add));
        acc[i][j].store(c + at);
        continue;
      }
      const int left = int(t.n) - at < V::N ? int(t.n) - at : V::N;
      if (left <= 0) continue;
      if (t.add != nullptr)
        acc[i][j] = acc[i][j] + (t.add_lanes ? V::load_n(add + at, left) : V::set1(*add));
      acc[i][j].store_n(c + at, left);
    }
  }
}

template <class T, int ROWS, int COLS>
void dot(const DotArgs<T>& d) {
  using V = Vec<T>;
  V acc[ROWS][COLS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < COLS; ++j)
      acc[i][j] = d.vectors ? V::load(d.out + (i * d.ld + j) * V::N) : V::set1(T(0));
  const T *a[ROWS], *b[COLS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i) a[i] = d.a + d.a_offset[i];
#pragma GCC unroll 16
  for (int j = 0; j < COLS; ++j) b[j] = d.b + d.b_offset[j];
  const int64_t vectors = d.len / V::N * V::N;
  const int left = int(d.len - vectors);
  V y[ROWS];
  for (int64_t r = 0; r < d.runs; ++r) {
    for (int64_t p = 0; p < vectors; p += V::N) {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) y[i] = V::load(a[i] + p);
#pragma GCC unroll 16
      for (int j = 0; j < COLS; ++j) {
        const V x = V::load(b[j] + p);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) acc[i][j] = fma(y[i], x, acc[i][j]);
      }
    }
    if (left != 0) {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) y[i] = V::load_n(a[i] + vectors, left);
#pragma GCC unroll 16
      for (int j = 0; j < COLS; ++j) {
        const V x = V::load_n(b[j] + vectors, left);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) acc[i][j] = fma(y[i], x, acc[i][j]);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) a[i] += d.a_pitch;
#pragma GCC unroll 16
    for (int j = 0; j < COLS; ++j) b[j] += d.b_pitch;
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < COLS; ++j) {
      if (d.vectors) {
        acc[i][j].store(d.out + (i * d.ld + j) * V::N);
        continue;
      }
      T* out = d.out + i * d.ld + j;
      const T sum = hsum(acc[i][j]);
      *out = d.accumulate ? *out + sum : sum;
    }
}

template <class T>
void fold(const T* vectors, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = hsum(Vec<T>::load(vectors + i * Vec<T>::N));
}

// Tile shapes fill the register file: 32 registers hold 14 x 2 or 6 x 4 sums, 16 hold 6 x 2 or 3
// x 4.
#if defined(TG_ISA_avx512)
constexpr int kRows = 14, kWideRows = 6, kDotRows = 4, kDotCols = 6;
#else
constexpr int kRows = 6, kWideRows = 3, kDotRows = 3, kDotCols = 3;
#endif

template <class T, int ROWS>
constexpr void (*narrow_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kRows) return tile<T, ROWS, 1>;
  return nullptr;
}
template <class T, int ROWS>
constexpr void (*full_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kRows) return tile<T, ROWS, 2>;
  return nullptr;
}
template <class T, int ROWS>
constexpr void (*wide_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kWideRows) return tile<T, ROWS, 4>;
  return nullptr;
}
template <class T, int ROWS, int COLS>
constexpr void (*dot_at())(const DotArgs<T>&) {
  if constexpr (ROWS <= kDotRows && COLS <= kDotCols) return dot<T, ROWS, COLS>;
  return nullptr;
}

#define TG_TILES(at)                                                                       \
  {at<T, 1>(), at<T, 2>(), at<T, 3>(),  at<T, 4>(),  at<T, 5>(),  at<T, 6>(),  at<T, 7>(), \
   at<T, 8>(), at<T, 9>(), at<T, 10>(), at<T, 11>(), at<T, 12>(), at<T, 13>(), at<T, 14>()}
#define TG_DOTS(r)                                          \
  {dot_at<T, r, 1>(), dot_at<T, r, 2>(), dot_at<T, r, 3>(), \
   dot_at<T, r, 4>(), dot_at<T, r, 5>(), dot_at<T, r, 6>()}

template <class T>
constexpr GemmTable<T> table(int kc) {
  constexpr int n = Vec<T>::N;
  return {n,
          kRows,
          n,
          2 * n,
          4 * n,
          kWideRows,
          kc,
          kDotRows,
          kDotCols,
          TG_TILES(narrow_at),
          TG_TILES(full_at),
          {wide_at<T, 1>(), wide_at<T, 2>(), wide_at<T, 3>(), wide_at<T, 4>(), wide_at<T, 5>(),
           wide_at<T, 6>()},
          {TG_DOTS(1), TG_DOTS(2), TG_DOTS(3), TG_DOTS(4)},
          fold<T>,
          pack<T>,
          gather<T>,
          copy_rows<T>};
}

}  // namespace

// kc rows of a full tile of B fill about two thirds of a first-level cache.
const GemmKernels gemm_kernels{table<float>(256),
                               table<double>(256),
                               {widen_block, narrow_block},
                               {widen_block, narrow_block}};

}  // namespace TG_ISA
}  // namespace tg

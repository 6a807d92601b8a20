// Register tiles of the matrix product. Operands are packed or addressed by an offset per row of B,
// so that convolution reads its input in place (Dukhan, "The Indirect Convolution Algorithm",
// 2019).
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/gemm_pack.h"
#include "cpu/isa/gemm_tile.h"
#include "cpu/isa/vec.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {

extern const GemmKernels gemm_kernels;

namespace {

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
template <class T, int ROWS, int COLS, bool TERMS>
constexpr void (*plain_at())(const PlainTile<T>&) {
  if constexpr (ROWS <= kRows) return plain_tile<T, ROWS, COLS, TERMS>;
  return nullptr;
}
template <class T, int ROWS, bool TERMS>
constexpr void (*plain_wide_at())(const PlainTile<T>&) {
  if constexpr (ROWS <= kWideRows) return plain_tile<T, ROWS, 4, TERMS>;
  return nullptr;
}
template <class T, int ROWS, int COLS>
constexpr void (*dot_at())(const DotArgs<T>&) {
  if constexpr (ROWS <= kDotRows && COLS <= kDotCols) return dot<T, ROWS, COLS>;
  return nullptr;
}

#define TG_ROWS(at, ...)                                                               \
  {at<T, 1, ##__VA_ARGS__>(),  at<T, 2, ##__VA_ARGS__>(),  at<T, 3, ##__VA_ARGS__>(),  \
   at<T, 4, ##__VA_ARGS__>(),  at<T, 5, ##__VA_ARGS__>(),  at<T, 6, ##__VA_ARGS__>(),  \
   at<T, 7, ##__VA_ARGS__>(),  at<T, 8, ##__VA_ARGS__>(),  at<T, 9, ##__VA_ARGS__>(),  \
   at<T, 10, ##__VA_ARGS__>(), at<T, 11, ##__VA_ARGS__>(), at<T, 12, ##__VA_ARGS__>(), \
   at<T, 13, ##__VA_ARGS__>(), at<T, 14, ##__VA_ARGS__>()}
#define TG_WIDE_ROWS(at, ...)                                                       \
  {at<T, 1, ##__VA_ARGS__>(), at<T, 2, ##__VA_ARGS__>(), at<T, 3, ##__VA_ARGS__>(), \
   at<T, 4, ##__VA_ARGS__>(), at<T, 5, ##__VA_ARGS__>(), at<T, 6, ##__VA_ARGS__>()}
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
          TG_ROWS(narrow_at),
          TG_ROWS(full_at),
          TG_WIDE_ROWS(wide_at),
          {TG_ROWS(plain_at, 1, false), TG_ROWS(plain_at, 1, true)},
          {TG_ROWS(plain_at, 2, false), TG_ROWS(plain_at, 2, true)},
          {TG_WIDE_ROWS(plain_wide_at, false), TG_WIDE_ROWS(plain_wide_at, true)},
          one_row<T>,
          {TG_DOTS(1), TG_DOTS(2), TG_DOTS(3), TG_DOTS(4)},
          fold<T>,
          pack<T>,
          gather<T>,
          copy_rows<T>};
}

#if defined(TG_DOT_BF16)
template <class T, int ROWS, int COLS>
void pair_tile(const TileArgs<T>& t) {
  Sums<T, ROWS, COLS> sums;
  const T* a = t.a;
  for (int64_t p = 0; p < t.k; ++p, a += ROWS) {
    const T* b = t.b + t.offset[p];
    Vec<T> x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) x[j] = Vec<T>::load(b + j * Vec<T>::N);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const __m512bh y = (__m512bh)Vec<T>::set1(a[i]).v;
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j)
        sums.at[i][j].v = _mm512_dpbf16_ps(sums.at[i][j].v, y, (__m512bh)x[j].v);
    }
  }
  sums.store(t);
}

uint32_t pair(bfloat16 low, bfloat16 high) { return low.bits | uint32_t(high.bits) << 16; }

void pack_pairs(uint32_t* dst, int64_t ld, const bfloat16* src, int64_t lane_stride,
                int64_t k_stride, int64_t count, int64_t k) {
  const int64_t pairs = k / 2;
  if (k_stride == 1 && lane_stride % 2 == 0 && count > 1) {
    // Two neighbours are moved as one number of twice their width.
    pack((float*)dst, ld, (const float*)src, lane_stride / 2, int64_t(1), count, pairs);
  } else {
    for (int64_t q = 0; q < pairs; ++q) {
      const bfloat16 *low = src + 2 * q * k_stride, *high = low + k_stride;
      uint32_t* to = dst + q * ld;
      if (lane_stride == 1)
        for (int64_t l = 0; l < count; ++l) to[l] = pair(low[l], high[l]);
      else
        for (int64_t l = 0; l < count; ++l)
          to[l] = pair(low[l * lane_stride], high[l * lane_stride]);
    }
  }
  for (int64_t l = 0; l < count && k % 2 != 0; ++l)
    dst[pairs * ld + l] = src[l * lane_stride + (k - 1) * k_stride].bits;
}

template <class T, int ROWS>
constexpr void (*pair_narrow_at())(const TileArgs<T>&) {
  return pair_tile<T, ROWS, 1>;
}
template <class T, int ROWS>
constexpr void (*pair_full_at())(const TileArgs<T>&) {
  return pair_tile<T, ROWS, 2>;
}
template <class T>
constexpr GemmTable<T> pair_table(int kc) {
  GemmTable<T> t = table<T>(kc);
  constexpr void (*narrow[])(const TileArgs<T>&) = TG_ROWS(pair_narrow_at);
  constexpr void (*full[])(const TileArgs<T>&) = TG_ROWS(pair_full_at);
  for (int i = 0; i < kRows; ++i) {
    t.tile_narrow[i] = narrow[i];
    t.tile_full[i] = full[i];
  }
  return t;
}

const PairTable pair_kernels{pair_table<float>(256), pack_pairs};
constexpr const PairTable* kPairs = &pair_kernels;
#else
constexpr const PairTable* kPairs = nullptr;
#endif

}  // namespace

// Fewer terms per block would have C read and written more often, more would leave less of the
// second-level cache to the rows of A.
const GemmKernels gemm_kernels{table<float>(512),
                               table<double>(256),
                               {widen_block, narrow_block},
                               {widen_block, narrow_block},
                               kPairs};

}  // namespace TG_ISA
}  // namespace tg

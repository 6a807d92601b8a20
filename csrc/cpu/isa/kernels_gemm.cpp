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

template <class T, class E, int ROWS, int COLS>
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
        for (int i = 0; i < ROWS; ++i) acc[i][j] = E::add_product(y[i], x, acc[i][j]);
      }
    }
    if (left != 0) {
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; ++i) y[i] = V::load_n(a[i] + vectors, left);
#pragma GCC unroll 16
      for (int j = 0; j < COLS; ++j) {
        const V x = V::load_n(b[j] + vectors, left);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) acc[i][j] = E::add_product(y[i], x, acc[i][j]);
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

// Tile shapes fill the register file: see vec.h for those of two vectors; of four vectors 32
// registers hold 6 rows, 16 hold 3.
constexpr bool kMany = kRegisters == 32;
constexpr int kRows = kTileRows, kWideRows = kMany ? 6 : 3;
constexpr int kDotRows = kMany ? 4 : 3, kDotCols = kMany ? 6 : 3;

template <class T, class E, int ROWS>
constexpr void (*narrow_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kRows) return tile<T, E, ROWS, 1>;
  return nullptr;
}
template <class T, class E, int ROWS>
constexpr void (*full_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kRows) return tile<T, E, ROWS, 2>;
  return nullptr;
}
template <class T, class E, int ROWS>
constexpr void (*wide_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kWideRows) return tile<T, E, ROWS, 4>;
  return nullptr;
}
template <class T, class E, int ROWS, int COLS>
constexpr void (*lanes_at())(const TileArgs<T>&) {
  if constexpr (ROWS <= kRows) return lanes_tile<T, E, ROWS, COLS>;
  return nullptr;
}
template <class T, class E, int ROWS, int COLS, bool TERMS>
constexpr void (*plain_at())(const PlainTile<T>&) {
  if constexpr (ROWS <= kRows) return plain_tile<T, E, ROWS, COLS, TERMS>;
  return nullptr;
}
template <class T, class E, int ROWS, bool TERMS>
constexpr void (*plain_wide_at())(const PlainTile<T>&) {
  if constexpr (ROWS <= kWideRows) return plain_tile<T, E, ROWS, 4, TERMS>;
  return nullptr;
}
template <class T, class E, int ROWS, int COLS>
constexpr void (*dot_at())(const DotArgs<T>&) {
  if constexpr (ROWS <= kDotRows && COLS <= kDotCols) return dot<T, E, ROWS, COLS>;
  return nullptr;
}

// Sums of taps, a factor and the lanes of b share the registers.
template <class T, class E, int TAPS, int ROWS>
constexpr void (*taps_at())(const TapSums<T>&) {
  if constexpr (TAPS * ROWS <= kRegisters - (kMany ? 8 : 4)) return tap_sums<T, E, TAPS, ROWS>;
  return nullptr;
}

#define TG_ROWS(at, ...)                                                                        \
  {at<T, E, 1, ##__VA_ARGS__>(),  at<T, E, 2, ##__VA_ARGS__>(),  at<T, E, 3, ##__VA_ARGS__>(),  \
   at<T, E, 4, ##__VA_ARGS__>(),  at<T, E, 5, ##__VA_ARGS__>(),  at<T, E, 6, ##__VA_ARGS__>(),  \
   at<T, E, 7, ##__VA_ARGS__>(),  at<T, E, 8, ##__VA_ARGS__>(),  at<T, E, 9, ##__VA_ARGS__>(),  \
   at<T, E, 10, ##__VA_ARGS__>(), at<T, E, 11, ##__VA_ARGS__>(), at<T, E, 12, ##__VA_ARGS__>(), \
   at<T, E, 13, ##__VA_ARGS__>(), at<T, E, 14, ##__VA_ARGS__>()}
#define TG_WIDE_ROWS(at, ...)                                                                \
  {at<T, E, 1, ##__VA_ARGS__>(), at<T, E, 2, ##__VA_ARGS__>(), at<T, E, 3, ##__VA_ARGS__>(), \
   at<T, E, 4, ##__VA_ARGS__>(), at<T, E, 5, ##__VA_ARGS__>(), at<T, E, 6, ##__VA_ARGS__>()}
#define TG_TAPS(n) {taps_at<T, E, n, 1>(), taps_at<T, E, n, 2>(), taps_at<T, E, n, 3>()}
#define TG_DOTS(r)                                                   \
  {dot_at<T, E, r, 1>(), dot_at<T, E, r, 2>(), dot_at<T, E, r, 3>(), \
   dot_at<T, E, r, 4>(), dot_at<T, E, r, 5>(), dot_at<T, E, r, 6>()}

template <class T, class E = Numbers>
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
          TG_ROWS(lanes_at, 1),
          TG_ROWS(lanes_at, 2),
          {TG_ROWS(plain_at, 1, false), TG_ROWS(plain_at, 1, true)},
          {TG_ROWS(plain_at, 2, false), TG_ROWS(plain_at, 2, true)},
          {TG_WIDE_ROWS(plain_wide_at, false), TG_WIDE_ROWS(plain_wide_at, true)},
          {few_rows<T, E, 1>, few_rows<T, E, 2>, few_rows<T, E, 3>},
          {TG_DOTS(1), TG_DOTS(2), TG_DOTS(3), TG_DOTS(4)},
          TG_TAPS(3),
          TG_TAPS(5),
          TG_TAPS(7),
          fold<T>,
          pack<T>,
          gather<T>,
          copy_rows<T>,
          fold_rows<T>};
}

#if defined(TG_DOT_BF16)
// See PairTable.
void join(float* dst, const bfloat16* low, const bfloat16* high, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 some = Vec<float>::first(n - i < 16 ? int(n - i) : 16);
    __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, low + i));
    if (high != nullptr)
      x = _mm512_or_si512(
          x,
          _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, high + i)), 16));
    _mm512_mask_storeu_epi32(dst + i, some, x);
  }
}

void pack_pairs(float* dst, int64_t ld, const bfloat16* src, int64_t lane_stride, int64_t k_stride,
                int64_t count, int64_t k) {
  const int64_t pairs = k / 2;
  if (lane_stride == 1) {
    for (int64_t q = 0; q < pairs; ++q, src += 2 * k_stride, dst += ld)
      join(dst, src, src + k_stride, count);
    if (k % 2 != 0) join(dst, src, nullptr, count);
    return;
  }
  if (k_stride == 1 && lane_stride % 2 == 0 && count > 1) {
    // Two neighbours are moved as one number of twice their width.
    pack(dst, ld, (const float*)src, lane_stride / 2, int64_t(1), count, pairs);
  } else {
    for (int64_t q = 0; q < pairs; ++q)
      for (int64_t l = 0; l < count; ++l) {
        const bfloat16* low = src + l * lane_stride + 2 * q * k_stride;
        dst[q * ld + l] = float_of_bits(low[0].bits | uint32_t(low[k_stride].bits) << 16);
      }
  }
  for (int64_t l = 0; l < count && k % 2 != 0; ++l)
    dst[pairs * ld + l] = float_of_bits(src[l * lane_stride + (k - 1) * k_stride].bits);
}

const PairTable pair_kernels{table<float, Pairs>(256), pack_pairs, join};
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

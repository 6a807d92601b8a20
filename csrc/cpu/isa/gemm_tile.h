// Register tiles of the matrix product, per instruction set.
#pragma once
#include <type_traits>

#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

// What an element of A and of B is: a number, or (as a float) a pair of bfloat16, whose two
// products are added at once.
struct Numbers {
  template <class V>
  static TG_INLINE V add_product(V y, V x, V sum) {
    return fma(y, x, sum);
  }
};
#if defined(TG_DOT_BF16)
struct Pairs {
  static TG_INLINE Vec<float> add_product(Vec<float> y, Vec<float> x, Vec<float> sum) {
    return {_mm512_dpbf16_ps(sum.v, (__m512bh)y.v, (__m512bh)x.v)};
  }
};
#endif

// The sums of a tile, which stay in registers for all of k.
template <class T, int ROWS, int COLS>
struct Sums {
  using V = Vec<T>;
  V at[ROWS][COLS];

  TG_INLINE Sums() {
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) at[i][j] = V::set1(T(0));
  }
  TG_INLINE void store(const TileSink<T>& t) {
    const bool whole = t.n == COLS * V::N;
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; ++i) {
      T* c = t.c + i * t.ldc;
      const T* add = t.add + i * t.add_row;
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) {
        const int first = j * V::N;
        if (whole) {
          if (t.add != nullptr)
            at[i][j] = at[i][j] + (t.add_lanes ? V::load(add + first) : V::set1(*add));
          at[i][j].store(c + first);
          continue;
        }
        const int left = int(t.n) - first < V::N ? int(t.n) - first : V::N;
        if (left <= 0) continue;
        if (t.add != nullptr)
          at[i][j] = at[i][j] + (t.add_lanes ? V::load_n(add + first, left) : V::set1(*add));
        at[i][j].store_n(c + first, left);
      }
    }
  }
};

template <class T, class E, int ROWS, int COLS>
void tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  Sums<T, ROWS, COLS> sums;
  const T* a = t.a;
  const T *const base = t.b, *const ahead = t.b + t.ahead;
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)  // while the sums are made, C comes nearer
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) __builtin_prefetch(t.c + i * t.ldc + j * V::N, 1, 2);
  const int64_t *offset = t.offset, *const end = t.offset + t.k;
  for (; offset != end; ++offset, a += ROWS) {
    const T* b = base + *offset;
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) {
      x[j] = V::load(b + j * V::N);
      __builtin_prefetch(ahead + *offset + j * V::N, 0, 2);
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V y = V::set1(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) sums.at[i][j] = E::add_product(y, x[j], sums.at[i][j]);
    }
  }
  sums.store(t);
}

// The rows of a term lie side by side where its offset says, B is packed.
template <class T, class E, int ROWS, int COLS>
void lanes_tile(const TileArgs<T>& t) {
  using V = Vec<T>;
  Sums<T, ROWS, COLS> sums;
  const T *const base = t.a, *b = t.b;
  const int64_t *offset = t.offset, *const end = t.offset + t.k;
  for (; offset != end; ++offset, b += COLS * V::N) {
    const T* a = base + *offset;
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j) x[j] = V::load(b + j * V::N);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V y = V::set1(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) sums.at[i][j] = E::add_product(y, x[j], sums.at[i][j]);
    }
  }
  sums.store(t);
}

template <class T, class E, int TAPS, int ROWS>
void tap_sums(const TapSums<T>& t) {
  using V = Vec<T>;
  Sums<T, ROWS * TAPS, 1> sums;
  const T *a[ROWS], *b = t.b;
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i) a[i] = t.a + t.a_offset[i];
  for (int64_t y = 0; y < t.rows; ++y) {
    for (int64_t x = 0; x < t.width; ++x, b += V::N) {
      const V lanes = V::load(b);
#pragma GCC unroll 4
      for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < TAPS; ++j) {
          V& sum = sums.at[i * TAPS + j][0];
          sum = E::add_product(V::set1(a[i][x + j]), lanes, sum);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) a[i] += t.a_pitch;
  }
  sums.store({t.out, t.ld, V::N, t.out, t.ld, true});
}

// Half a vector, where two of them take as long as a whole one: for the last columns.
#if defined(TG_ISA_avx512)
template <class T>
struct Half;
template <>
struct Half<float> {
  __m256 v;
  static TG_INLINE Half set1(float x) { return {_mm256_set1_ps(x)}; }
  static TG_INLINE Half load_n(const float* p, int n) {
    return {_mm256_maskz_loadu_ps(__mmask8(Vec<float>::first(n)), p)};
  }
  TG_INLINE Vec<float> whole() const { return {_mm512_castps256_ps512(v)}; }
};
template <>
struct Half<double> {
  __m256d v;
  static TG_INLINE Half set1(double x) { return {_mm256_set1_pd(x)}; }
  static TG_INLINE Half load_n(const double* p, int n) {
    return {_mm256_maskz_loadu_pd(Vec<double>::first(n), p)};
  }
  TG_INLINE Vec<double> whole() const { return {_mm512_castpd256_pd512(v)}; }
};
TG_INLINE Half<float> fma(Half<float> x, Half<float> y, Half<float> z) {
  return {_mm256_fmadd_ps(x.v, y.v, z.v)};
}
TG_INLINE Half<double> fma(Half<double> x, Half<double> y, Half<double> z) {
  return {_mm256_fmadd_pd(x.v, y.v, z.v)};
}
template <class T>
constexpr int kHalf = Vec<T>::N / 2;
#else
template <class T>
struct Half {
  Vec<T> v;
  static TG_INLINE Half set1(T x) { return {Vec<T>::set1(x)}; }
  static TG_INLINE Half load_n(const T* p, int n) { return {Vec<T>::load_n(p, n)}; }
  TG_INLINE Vec<T> whole() const { return v; }
};
template <class T>
TG_INLINE Half<T> fma(Half<T> x, Half<T> y, Half<T> z) {
  return {fma(x.v, y.v, z.v)};
}
template <class T>
constexpr int kHalf = 0;
#endif

// What the last vector of a row of B holds; only these lanes are read.
enum class Last { whole, some, half };

// TERMS: the terms of a row of A are contiguous, else the rows of a term. The last vector has
// `count` lanes.
template <class T, class E, int ROWS, int COLS, bool TERMS, Last LAST>
TG_INLINE void plain_sums(const PlainTile<T>& t, int count, Sums<T, ROWS, COLS>& sums) {
  using V = Vec<T>;
  constexpr int kBases =
      (ROWS + 2) / 3;  // rows are addressed as base, base + pitch, base + 2 pitch
  constexpr int kWhole = LAST == Last::half ? COLS - 1 : COLS;
  const T* a[kBases];
#pragma GCC unroll 8
  for (int i = 0; i < kBases; ++i) a[i] = t.a + (TERMS ? 3 * i * t.a_pitch : 3 * i);
  const T* b = t.b;
  Half<T> halves[ROWS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i) halves[i] = Half<T>::set1(T(0));
  for (int64_t p = 0; p < t.k; ++p, b += t.b_pitch) {
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < kWhole; ++j)
      x[j] = LAST == Last::some && j == COLS - 1 ? V::load_n(b + j * V::N, count)
                                                 : V::load(b + j * V::N);
    Half<T> half;
    if (LAST == Last::half) half = Half<T>::load_n(b + kWhole * V::N, count);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const T factor = a[i / 3][TERMS ? i % 3 * t.a_pitch : i % 3];
      const V y = V::set1(factor);
#pragma GCC unroll 4
      for (int j = 0; j < kWhole; ++j) sums.at[i][j] = E::add_product(y, x[j], sums.at[i][j]);
      if (LAST == Last::half) halves[i] = fma(Half<T>::set1(factor), half, halves[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) a[i] += TERMS ? 1 : t.a_pitch;
  }
  if (LAST == Last::half) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) sums.at[i][COLS - 1] = halves[i].whole();
  }
}

template <class T, class E, int ROWS, int COLS, bool TERMS>
void plain_tile(const PlainTile<T>& t) {
  Sums<T, ROWS, COLS> sums;
  const int count = int(t.n) - (COLS - 1) * Vec<T>::N;
  if (count == Vec<T>::N)
    plain_sums<T, E, ROWS, COLS, TERMS, Last::whole>(t, count, sums);
  else if (std::is_same_v<E, Numbers> && COLS <= 2 && count <= kHalf<T>)
    plain_sums<T, E, ROWS, COLS, TERMS, Last::half>(t, count, sums);
  else
    plain_sums<T, E, ROWS, COLS, TERMS, Last::some>(t, count, sums);
  sums.store(t);
}

// n <= N columns, all of them if WHOLE, of the terms whose factors are y.
template <class T, class E, int ROWS, int TERMS, bool WHOLE>
TG_INLINE void few_rows_step(const Vec<T> (&y)[ROWS][TERMS], const T* b, int64_t pitch, T* to,
                             int64_t ld, int n) {
  using V = Vec<T>;
  V x[TERMS];
#pragma GCC unroll 4
  for (int p = 0; p < TERMS; ++p)
    x[p] = WHOLE ? V::load(b + p * pitch) : V::load_n(b + p * pitch, n);
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i) {
    V sum = WHOLE ? V::load(to + i * ld) : V::load_n(to + i * ld, n);
#pragma GCC unroll 4
    for (int p = 0; p < TERMS; ++p) sum = E::add_product(y[i][p], x[p], sum);
    WHOLE ? sum.store(to + i * ld) : sum.store_n(to + i * ld, n);
  }
}

// TERMS terms, whose factors stay in registers, are added to the sums in memory.
template <class T, class E, int ROWS, int TERMS>
TG_INLINE void few_rows_terms(const FewRows<T>& f, const T* a, const T* b) {
  using V = Vec<T>;
  V y[ROWS][TERMS];
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
    for (int p = 0; p < TERMS; ++p) y[i][p] = V::set1(a[i * f.a_row + p * f.a_term]);
  const int64_t pitch = f.b_pitch, ld = f.ld;
  T* to = f.sums;
  T* const end = to + f.n / V::N * V::N;
  for (; to != end; to += V::N, b += V::N)
    few_rows_step<T, E, ROWS, TERMS, true>(y, b, pitch, to, ld, V::N);
  if (const int rest = int(f.n % V::N))
    few_rows_step<T, E, ROWS, TERMS, false>(y, b, pitch, to, ld, rest);
}

template <class T, class E, int ROWS>
void few_rows(const FewRows<T>& f) {
  constexpr int kTerms = kRegisters == 32 || ROWS < 3 ? 4 : 2;
  const T *a = f.a, *b = f.b;
  int64_t p = 0;
  for (; p + kTerms <= f.k; p += kTerms, a += kTerms * f.a_term, b += kTerms * f.b_pitch)
    few_rows_terms<T, E, ROWS, kTerms>(f, a, b);
  for (; p < f.k; ++p, a += f.a_term, b += f.b_pitch) few_rows_terms<T, E, ROWS, 1>(f, a, b);
}

}  // namespace TG_ISA
}  // namespace tg

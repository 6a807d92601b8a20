// Register tiles of the matrix product, per instruction set.
#pragma once
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
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) at[i][j] = V::set1(T(0));
  }
  TG_INLINE void store(const TileSink<T>& t) {
    const bool whole = t.n == COLS * V::N;
#pragma GCC unroll 16
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

// TERMS: the terms of a row of A are contiguous, else the rows of a term. LESS: the last vector has
// fewer than all its lanes, and only these may be read.
template <class T, class E, int ROWS, int COLS, bool TERMS, bool LESS>
TG_INLINE void plain_sums(const PlainTile<T>& t, int last, Sums<T, ROWS, COLS>& sums) {
  using V = Vec<T>;
  constexpr int kBases =
      (ROWS + 2) / 3;  // rows are addressed as base, base + pitch, base + 2 pitch
  const T* a[kBases];
#pragma GCC unroll 8
  for (int i = 0; i < kBases; ++i) a[i] = t.a + (TERMS ? 3 * i * t.a_pitch : 3 * i);
  const T* b = t.b;
  for (int64_t p = 0; p < t.k; ++p, b += t.b_pitch) {
    V x[COLS];
#pragma GCC unroll 4
    for (int j = 0; j < COLS; ++j)
      x[j] = LESS && j == COLS - 1 ? V::load_n(b + j * V::N, last) : V::load(b + j * V::N);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const V y = V::set1(a[i / 3][TERMS ? i % 3 * t.a_pitch : i % 3]);
#pragma GCC unroll 4
      for (int j = 0; j < COLS; ++j) sums.at[i][j] = E::add_product(y, x[j], sums.at[i][j]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) a[i] += TERMS ? 1 : t.a_pitch;
  }
}

template <class T, class E, int ROWS, int COLS, bool TERMS>
void plain_tile(const PlainTile<T>& t) {
  Sums<T, ROWS, COLS> sums;
  const int last = int(t.n) - (COLS - 1) * Vec<T>::N;
  if (last == Vec<T>::N)
    plain_sums<T, E, ROWS, COLS, TERMS, false>(t, last, sums);
  else
    plain_sums<T, E, ROWS, COLS, TERMS, true>(t, last, sums);
  sums.store(t);
}

// TERMS terms of ROWS rows, whose factors stay in registers, are added to the sums in memory.
template <class T, class E, int ROWS, int TERMS>
TG_INLINE void few_terms(const FewRows<T>& f, const T* a, const T* b) {
  using V = Vec<T>;
  V y[ROWS][TERMS];
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int p = 0; p < TERMS; ++p) y[i][p] = V::set1(a[i * f.a_row + p * f.a_term]);
  const auto add = [&y](T* to, int64_t ld, const T* from, int64_t pitch, auto load, auto store) {
    V sum[ROWS];
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) sum[i] = load(to + i * ld);
#pragma GCC unroll 8
    for (int p = 0; p < TERMS; ++p) {
      const V x = load(from + p * pitch);
#pragma GCC unroll 4
      for (int i = 0; i < ROWS; ++i) sum[i] = E::add_product(y[i][p], x, sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) store(to + i * ld, sum[i]);
  };
  const auto load = [](const T* p) { return V::load(p); };
  const auto store = [](T* p, V v) { v.store(p); };
  T* to = f.sums;
  const int64_t ld = f.ld, pitch = f.b_pitch;
  T* const end = to + f.n / V::N * V::N;
  for (; to != end; to += V::N, b += V::N) add(to, ld, b, pitch, load, store);
  if (const int rest = int(f.n % V::N))
    add(
        to, ld, b, pitch, [rest](const T* p) { return V::load_n(p, rest); },
        [rest](T* p, V v) { v.store_n(p, rest); });
}

template <class T, class E, int ROWS>
void few_rows(const FewRows<T>& f) {
  constexpr int kTerms = ROWS == 2 ? 8 : 4;
  const T *a = f.a, *b = f.b;
  int64_t p = 0;
  for (; p + kTerms <= f.k; p += kTerms, a += kTerms * f.a_term, b += kTerms * f.b_pitch)
    few_terms<T, E, ROWS, kTerms>(f, a, b);
  for (; p < f.k; ++p, a += f.a_term, b += f.b_pitch) few_terms<T, E, ROWS, 1>(f, a, b);
}

}  // namespace TG_ISA
}  // namespace tg

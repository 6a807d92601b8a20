#include "cpu/isa/ladder_kernels.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

extern const LadderKernels ladder_kernels;

namespace {

template <class T>
void naive(const LadderProduct<T>& g) {
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      T sum = 0;
      for (int64_t p = 0; p < g.k; ++p)
        sum += g.a[i * g.a_row + p * g.a_col] * g.b[p * g.b_row + j * g.b_col];
      g.c[i * g.ldc + j] = sum;
    }
}

template <class T>
void clear(const LadderProduct<T>& g) {
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) g.c[i * g.ldc + j] = T(0);
}

// c += x times a row of B.
template <class T>
TG_INLINE void add_row(T* c, T x, const T* b, int64_t n) {
  using V = Vec<T>;
  const V y = V::set1(x);
  int64_t j = 0;
  for (; j + V::N <= n; j += V::N) fma(y, V::load(b + j), V::load(c + j)).store(c + j);
  if (const int rest = int(n - j))
    fma(y, V::load_n(b + j, rest), V::load_n(c + j, rest)).store_n(c + j, rest);
}

// The terms [p, p + terms) of the columns [j, j + cols).
template <class T>
TG_INLINE void add_block(const LadderProduct<T>& g, int64_t j, int64_t cols, int64_t p,
                         int64_t terms) {
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t q = p; q < p + terms; ++q)
      add_row(g.c + i * g.ldc + j, g.a[i * g.a_row + q * g.a_col], g.b + q * g.b_row + j, cols);
}

template <class T>
void rows(const LadderProduct<T>& g) {
  clear(g);
  add_block(g, 0, g.n, 0, g.k);
}

template <class T>
void blocked(const LadderProduct<T>& g) {
  // A row of the block of C stays in the first-level cache, the block of B in the second.
  constexpr int64_t kTerms = 128, kCols = 2048 / sizeof(T);
  clear(g);
  for (int64_t j = 0; j < g.n; j += kCols)
    for (int64_t p = 0; p < g.k; p += kTerms)
      add_block(g, j, g.n - j < kCols ? g.n - j : kCols, p, g.k - p < kTerms ? g.k - p : kTerms);
}

template <class T>
T fma_chains(int64_t rounds, T x) {
  using V = Vec<T>;
  const V y = V::set1(x);
  V sum[kFmaChains];
#pragma GCC unroll 16
  for (int i = 0; i < kFmaChains; ++i) sum[i] = V::set1(T(i) * x);
  for (int64_t r = 0; r < rounds; ++r)
#pragma GCC unroll 16
    for (int i = 0; i < kFmaChains; ++i) sum[i] = fma(sum[i], y, y);
  V all = sum[0];
#pragma GCC unroll 16
  for (int i = 1; i < kFmaChains; ++i) all = all + sum[i];
  return hsum(all);
}

template <class T>
constexpr LadderTable<T> table() {
  return {{naive<T>, rows<T>, blocked<T>}, fma_chains<T>};
}

}  // namespace

const LadderKernels ladder_kernels{table<float>(), table<double>()};

}  // namespace TG_ISA
}  // namespace tg

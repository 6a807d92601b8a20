// The matrix product before register tiles: the lower rungs of the ladder in docs/kernels.md, each
// one step from the one before it, on one thread.
#pragma once
#include <cstdint>

namespace tg {

// C (m x n, row stride ldc) = A B; strides in elements.
template <class T>
struct LadderProduct {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t b_row, b_col;
  T* c;
  int64_t ldc;
};

constexpr int kRungs = 3;
constexpr int kFmaChains = 12;  // at least latency times ports, fewer than registers

template <class T>
struct LadderTable {
  // The formula, element by element; whole rows of B times a number; the same within a block of B
  // that stays in the caches. The last two need b_col = 1.
  void (*rungs[kRungs])(const LadderProduct<T>&);
  T (*fma_chains)(int64_t rounds, T x);  // kFmaChains vectors of multiply-adds a round
};

struct LadderKernels {
  LadderTable<float> f32;
  LadderTable<double> f64;
};

inline const LadderTable<float>& ladder_table(const LadderKernels& k, float) { return k.f32; }
inline const LadderTable<double>& ladder_table(const LadderKernels& k, double) { return k.f64; }

}  // namespace tg

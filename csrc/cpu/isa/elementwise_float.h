// From functions of lanes to kernels: the loop over contiguous floats or doubles.
#pragma once
#include "cpu/isa/elementwise_lookup.h"

namespace tg {
namespace TG_ISA {

// F::apply(x, y; p0, p1) on lanes; the last, partial vector goes through the same function.
template <class T, class F, int Inputs>
void lanes_kernel(char* out, const char* const* in, int64_t n, double p0, double p1) {
  using V = Vec<T>;
  T* const y = (T*)out;
  const T* const a = (const T*)in[0];
  const T* const b = (const T*)in[Inputs - 1];
  const V q0 = V::set1(T(p0)), q1 = V::set1(T(p1));
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) F::apply(V::load(a + i), V::load(b + i), q0, q1).store(y + i);
  if (i < n) {
    const int rest = int(n - i);
    F::apply(V::load_n(a + i, rest), V::load_n(b + i, rest), q0, q1).store_n(y + i, rest);
  }
}

// F::apply(x, y) on single elements: functions of the C library.
template <class T, class F, int Inputs>
void scalar_kernel(char* out, const char* const* in, int64_t n, double, double) {
  T* const y = (T*)out;
  const T* const a = (const T*)in[0];
  const T* const b = (const T*)in[Inputs - 1];
  for (int64_t i = 0; i < n; ++i) y[i] = F::apply(a[i], b[i]);
}

// NaN wins; of equal values (zeros of both signs) the first.
template <class T>
TG_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) {
  return select((a >= b) | (a != a), a, b);
}
template <class T>
TG_INLINE Vec<T> smaller(Vec<T> a, Vec<T> b) {
  return select((a <= b) | (a != a), a, b);
}

// Rows of a formula sheet. In a lanes row x, y are Vec<T> and p, q the parameters; a scalar row
// has a formula of floats and one of doubles.
#define TG_LANES_ROW(family, name, formula)                                               \
  struct family##_##name {                                                                \
    template <class T>                                                                    \
    static TG_INLINE Vec<T> apply([[maybe_unused]] Vec<T> x, [[maybe_unused]] Vec<T> y,   \
                                  [[maybe_unused]] Vec<T> p, [[maybe_unused]] Vec<T> q) { \
      return formula;                                                                     \
    }                                                                                     \
    template <class T, int Inputs>                                                        \
    static constexpr ElementKernel kernel() {                                             \
      return lanes_kernel<T, family##_##name, Inputs>;                                    \
    }                                                                                     \
  };
#define TG_SCALAR_ROW(family, name, of_float, of_double)                           \
  struct family##_##name {                                                         \
    static float apply(float x, [[maybe_unused]] float y) { return of_float; }     \
    static double apply(double x, [[maybe_unused]] double y) { return of_double; } \
    template <class T, int Inputs>                                                 \
    static constexpr ElementKernel kernel() {                                      \
      return scalar_kernel<T, family##_##name, Inputs>;                            \
    }                                                                              \
  };
#define TG_UNDEFINED_ROW(family, name)        \
  struct family##_##name {                    \
    template <class T, int Inputs>            \
    static constexpr ElementKernel kernel() { \
      return nullptr;                         \
    }                                         \
  };

}  // namespace TG_ISA
}  // namespace tg

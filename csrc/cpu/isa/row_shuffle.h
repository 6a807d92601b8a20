// Lanes two elements apart: the windows of stride 2.
#pragma once
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

// p[2 i] = a[i], p[2 i + 1] = b[i]
template <class C>
TG_INLINE void store_interleaved(C* p, Vec<C> a, Vec<C> b);

#if defined(TG_ISA_avx512)
TG_INLINE Vec<float> even_of(Vec<float> a, Vec<float> b) {
  const __m512i pick = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_permutex2var_ps(a.v, pick, b.v)};
}
TG_INLINE Vec<double> even_of(Vec<double> a, Vec<double> b) {
  const __m512i pick = _mm512_setr_epi64(0, 2, 4, 6, 9, 11, 13, 15);
  return {_mm512_permutex2var_pd(a.v, pick, b.v)};
}
template <>
TG_INLINE void store_interleaved(float* p, Vec<float> a, Vec<float> b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  _mm512_storeu_ps(p, _mm512_permutex2var_ps(a.v, low, b.v));
  _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(a.v, high, b.v));
}
template <>
TG_INLINE void store_interleaved(double* p, Vec<double> a, Vec<double> b) {
  const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  const __m512i high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
  _mm512_storeu_pd(p, _mm512_permutex2var_pd(a.v, low, b.v));
  _mm512_storeu_pd(p + 8, _mm512_permutex2var_pd(a.v, high, b.v));
}
#elif defined(TG_ISA_avx2)
TG_INLINE Vec<float> even_of(Vec<float> a, Vec<float> b) {
  const __m256 x = _mm256_shuffle_ps(a.v, b.v, 0xd8);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8))};
}
TG_INLINE Vec<double> even_of(Vec<double> a, Vec<double> b) {
  const __m256d x = _mm256_shuffle_pd(a.v, b.v, 0xa);
  return {_mm256_permute4x64_pd(x, 0xd8)};
}
template <>
TG_INLINE void store_interleaved(float* p, Vec<float> a, Vec<float> b) {
  const __m256 x = _mm256_unpacklo_ps(a.v, b.v), y = _mm256_unpackhi_ps(a.v, b.v);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(x, y, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(x, y, 0x31));
}
template <>
TG_INLINE void store_interleaved(double* p, Vec<double> a, Vec<double> b) {
  const __m256d x = _mm256_unpacklo_pd(a.v, b.v), y = _mm256_unpackhi_pd(a.v, b.v);
  _mm256_storeu_pd(p, _mm256_permute2f128_pd(x, y, 0x20));
  _mm256_storeu_pd(p + 4, _mm256_permute2f128_pd(x, y, 0x31));
}
#elif defined(TG_ISA_neon)
template <>
TG_INLINE void store_interleaved(float* p, Vec<float> a, Vec<float> b) {
  vst2q_f32(p, {a.v, b.v});
}
template <>
TG_INLINE void store_interleaved(double* p, Vec<double> a, Vec<double> b) {
  vst2q_f64(p, {a.v, b.v});
}
#else
template <class C>
TG_INLINE void store_interleaved(C* p, Vec<C> a, Vec<C> b) {
  for (int i = 0; i < Vec<C>::N; ++i) {
    p[2 * i] = a.v[i];
    p[2 * i + 1] = b.v[i];
  }
}
#endif

// p[0], p[2], ..., p[2 (n - 1)] with n <= N, zero in the other lanes; reads nothing past the last.
template <class C>
TG_INLINE Vec<C> load_even(const C* p, int n) {
#if defined(TG_ISA_avx512) || defined(TG_ISA_avx2)
  constexpr int N = Vec<C>::N;
  // Even elements of a, odd ones of b, which starts N - 1 further on.
  if (n == N) return even_of(Vec<C>::load(p), Vec<C>::load(p + N - 1));
  const int reach = 2 * n - 1, beyond = reach - (N - 1);
  const Vec<C> a = reach >= N ? Vec<C>::load(p) : Vec<C>::load_n(p, reach);
  return even_of(a, beyond > 0 ? Vec<C>::load_n(p + N - 1, beyond) : Vec<C>::set1(0));
#else
  Vec<C> x = Vec<C>::set1(0);
  for (int i = 0; i < n; ++i) x.v[i] = p[2 * i];
  return x;
#endif
}

}  // namespace TG_ISA
}  // namespace tg

// Eight floats or four doubles: AVX2 with FMA.
#pragma once
#include <immintrin.h>

#include "cpu/isa/vec.h"
#include "cpu/isa/vec_x86.h"

namespace tg {
namespace TG_ISA {

template <>
struct Vec<float> {
  static constexpr int N = 8;
  __m256 v;

  static TG_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static TG_INLINE Vec set1(float x) { return {_mm256_set1_ps(x)}; }
  static TG_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static TG_INLINE Vec load_n(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
  TG_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  TG_INLINE void store_n(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }
};

template <>
struct Vec<double> {
  static constexpr int N = 4;
  __m256d v;

  static TG_INLINE __m256i first(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static TG_INLINE Vec set1(double x) { return {_mm256_set1_pd(x)}; }
  static TG_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static TG_INLINE Vec load_n(const double* p, int n) { return {_mm256_maskload_pd(p, first(n))}; }
  TG_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  TG_INLINE void store_n(double* p, int n) const { _mm256_maskstore_pd(p, first(n), v); }
};

template <>
struct Mask<float> {
  __m256 m;
};
template <>
struct Mask<double> {
  __m256d m;
};

template <>
struct Int<float> {
  __m256i i;
  static TG_INLINE Int set1(uint32_t x) { return {_mm256_set1_epi32(int(x))}; }
};
template <>
struct Int<double> {
  __m256i i;
  static TG_INLINE Int set1(uint64_t x) { return {_mm256_set1_epi64x((long long)x)}; }
};

TG_X86_LANES(float, _mm256, ps, epi32, si256)
TG_X86_LANES(double, _mm256, pd, epi64, si256)

#define TG_AVX2_LANES(T, s, e)                                                             \
  TG_INLINE Mask<T> operator<(Vec<T> x, Vec<T> y) {                                        \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_LT_OQ)};                                         \
  }                                                                                        \
  TG_INLINE Mask<T> operator<=(Vec<T> x, Vec<T> y) {                                       \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_LE_OQ)};                                         \
  }                                                                                        \
  TG_INLINE Mask<T> operator>(Vec<T> x, Vec<T> y) {                                        \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_GT_OQ)};                                         \
  }                                                                                        \
  TG_INLINE Mask<T> operator>=(Vec<T> x, Vec<T> y) {                                       \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_GE_OQ)};                                         \
  }                                                                                        \
  TG_INLINE Mask<T> operator==(Vec<T> x, Vec<T> y) {                                       \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_EQ_OQ)};                                         \
  }                                                                                        \
  TG_INLINE Mask<T> operator!=(Vec<T> x, Vec<T> y) {                                       \
    return {_mm256_cmp_##s(x.v, y.v, _CMP_NEQ_UQ)};                                        \
  }                                                                                        \
  TG_INLINE Mask<T> equal(Int<T> x, Int<T> y) {                                            \
    return {_mm256_castsi256_##s(_mm256_cmpeq_##e(x.i, y.i))};                             \
  }                                                                                        \
  TG_INLINE Mask<T> above(Int<T> x, Int<T> y) {                                            \
    return {_mm256_castsi256_##s(_mm256_cmpgt_##e(x.i, y.i))};                             \
  }                                                                                        \
  TG_INLINE Mask<T> operator&(Mask<T> x, Mask<T> y) { return {_mm256_and_##s(x.m, y.m)}; } \
  TG_INLINE Mask<T> operator|(Mask<T> x, Mask<T> y) { return {_mm256_or_##s(x.m, y.m)}; }  \
  TG_INLINE Mask<T> operator^(Mask<T> x, Mask<T> y) { return {_mm256_xor_##s(x.m, y.m)}; } \
  TG_INLINE Mask<T> operator~(Mask<T> x) {                                                 \
    return {_mm256_xor_##s(x.m, _mm256_castsi256_##s(_mm256_set1_epi32(-1)))};             \
  }                                                                                        \
  TG_INLINE bool any(Mask<T> x) { return _mm256_movemask_##s(x.m) != 0; }                  \
  TG_INLINE Vec<T> select(Mask<T> m, Vec<T> x, Vec<T> y) {                                 \
    return {_mm256_blendv_##s(y.v, x.v, m.m)};                                             \
  }                                                                                        \
  TG_INLINE Int<T> select(Mask<T> m, Int<T> x, Int<T> y) {                                 \
    return bits_of(select(m, from_bits(x), from_bits(y)));                                 \
  }                                                                                        \
  TG_INLINE Vec<T> round(Vec<T> x) { return {_mm256_round_##s(x.v, 0x8)}; }                \
  TG_INLINE Vec<T> floor(Vec<T> x) { return {_mm256_round_##s(x.v, 0x9)}; }                \
  TG_INLINE Vec<T> ceil(Vec<T> x) { return {_mm256_round_##s(x.v, 0xa)}; }                 \
  TG_INLINE Vec<T> trunc(Vec<T> x) { return {_mm256_round_##s(x.v, 0xb)}; }

TG_AVX2_LANES(float, ps, epi32)
TG_AVX2_LANES(double, pd, epi64)
#undef TG_AVX2_LANES

TG_INLINE float hsum(Vec<float> a) {
  const __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 y = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}
TG_INLINE double hsum(Vec<double> a) {
  const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}
TG_INLINE float hmax(Vec<float> a) {
  const __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 y = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}
TG_INLINE double hmax(Vec<double> a) {
  const __m128d x = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(x, _mm_unpackhi_pd(x, x)));
}

TG_INLINE Vec<double> widen_low(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))};
}
TG_INLINE Vec<double> widen_high(Vec<float> a) {
  return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))};
}
TG_INLINE Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {_mm256_set_m128(_mm256_cvtpd_ps(high.v), _mm256_cvtpd_ps(low.v))};
}

}  // namespace TG_ISA
}  // namespace tg

// Sixteen floats or eight doubles: AVX-512 F, DQ, BW, VL.
#pragma once
#pragma GCC diagnostic push
#if !defined(__clang__)  // GCC 12 warns of its own header's deliberately undefined registers
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "cpu/isa/vec.h"
#include "cpu/isa/vec_x86.h"

namespace tg {
namespace TG_ISA {

template <>
struct Vec<float> {
  static constexpr int N = 16;
  __m512 v;

  static TG_INLINE __mmask16 first(int n) { return __mmask16((1u << n) - 1); }
  static TG_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
  static TG_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static TG_INLINE Vec load_n(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(first(n), p)};
  }
  TG_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  TG_INLINE void store_n(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};

template <>
struct Vec<double> {
  static constexpr int N = 8;
  __m512d v;

  static TG_INLINE __mmask8 first(int n) { return __mmask8((1u << n) - 1); }
  static TG_INLINE Vec set1(double x) { return {_mm512_set1_pd(x)}; }
  static TG_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static TG_INLINE Vec load_n(const double* p, int n) {
    return {_mm512_maskz_loadu_pd(first(n), p)};
  }
  TG_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  TG_INLINE void store_n(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), v); }
};

template <>
struct Mask<float> {
  __mmask16 m;
};
template <>
struct Mask<double> {
  __mmask8 m;
};

template <>
struct Int<float> {
  __m512i i;
  static TG_INLINE Int set1(uint32_t x) { return {_mm512_set1_epi32(int(x))}; }
};
template <>
struct Int<double> {
  __m512i i;
  static TG_INLINE Int set1(uint64_t x) { return {_mm512_set1_epi64((long long)x)}; }
};

TG_X86_LANES(float, _mm512, ps, epi32, si512)
TG_X86_LANES(double, _mm512, pd, epi64, si512)

#define TG_AVX512_LANES(T, s, e, M)                                                           \
  TG_INLINE Mask<T> operator<(Vec<T> x, Vec<T> y) {                                           \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_LT_OQ)};                                     \
  }                                                                                           \
  TG_INLINE Mask<T> operator<=(Vec<T> x, Vec<T> y) {                                          \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_LE_OQ)};                                     \
  }                                                                                           \
  TG_INLINE Mask<T> operator>(Vec<T> x, Vec<T> y) {                                           \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_GT_OQ)};                                     \
  }                                                                                           \
  TG_INLINE Mask<T> operator>=(Vec<T> x, Vec<T> y) {                                          \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_GE_OQ)};                                     \
  }                                                                                           \
  TG_INLINE Mask<T> operator==(Vec<T> x, Vec<T> y) {                                          \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_EQ_OQ)};                                     \
  }                                                                                           \
  TG_INLINE Mask<T> operator!=(Vec<T> x, Vec<T> y) {                                          \
    return {_mm512_cmp_##s##_mask(x.v, y.v, _CMP_NEQ_UQ)};                                    \
  }                                                                                           \
  TG_INLINE Mask<T> equal(Int<T> x, Int<T> y) { return {_mm512_cmpeq_##e##_mask(x.i, y.i)}; } \
  TG_INLINE Mask<T> above(Int<T> x, Int<T> y) { return {_mm512_cmpgt_##e##_mask(x.i, y.i)}; } \
  TG_INLINE Mask<T> operator&(Mask<T> x, Mask<T> y) { return {M(x.m & y.m)}; }                \
  TG_INLINE Mask<T> operator|(Mask<T> x, Mask<T> y) { return {M(x.m | y.m)}; }                \
  TG_INLINE Mask<T> operator^(Mask<T> x, Mask<T> y) { return {M(x.m ^ y.m)}; }                \
  TG_INLINE Mask<T> operator~(Mask<T> x) { return {M(~x.m)}; }                                \
  TG_INLINE bool any(Mask<T> x) { return x.m != 0; }                                          \
  TG_INLINE Vec<T> select(Mask<T> m, Vec<T> x, Vec<T> y) {                                    \
    return {_mm512_mask_blend_##s(m.m, y.v, x.v)};                                            \
  }                                                                                           \
  TG_INLINE Int<T> select(Mask<T> m, Int<T> x, Int<T> y) {                                    \
    return {_mm512_mask_blend_##e(m.m, y.i, x.i)};                                            \
  }                                                                                           \
  TG_INLINE Vec<T> round(Vec<T> x) { return {_mm512_roundscale_##s(x.v, 0x8)}; }              \
  TG_INLINE Vec<T> floor(Vec<T> x) { return {_mm512_roundscale_##s(x.v, 0x9)}; }              \
  TG_INLINE Vec<T> ceil(Vec<T> x) { return {_mm512_roundscale_##s(x.v, 0xa)}; }               \
  TG_INLINE Vec<T> trunc(Vec<T> x) { return {_mm512_roundscale_##s(x.v, 0xb)}; }

TG_AVX512_LANES(float, ps, epi32, __mmask16)
TG_AVX512_LANES(double, pd, epi64, __mmask8)
#undef TG_AVX512_LANES

TG_INLINE float hsum(Vec<float> a) {
  const __m256 x = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 z = _mm_add_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}
TG_INLINE double hsum(Vec<double> a) {
  const __m256d x = _mm256_add_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d y = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(y, _mm_unpackhi_pd(y, y)));
}
TG_INLINE float hmax(Vec<float> a) {
  const __m256 x = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 z = _mm_max_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}
TG_INLINE double hmax(Vec<double> a) {
  const __m256d x = _mm256_max_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  const __m128d y = _mm_max_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_max_sd(y, _mm_unpackhi_pd(y, y)));
}

TG_INLINE Vec<double> widen_low(Vec<float> a) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))};
}
TG_INLINE Vec<double> widen_high(Vec<float> a) {
  return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))};
}
TG_INLINE Vec<float> narrow(Vec<double> low, Vec<double> high) {
  const __m512 x = _mm512_castps256_ps512(_mm512_cvtpd_ps(low.v));
  return {_mm512_insertf32x8(x, _mm512_cvtpd_ps(high.v), 1)};
}

}  // namespace TG_ISA
}  // namespace tg

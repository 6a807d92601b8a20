// The lane operations whose intrinsics differ between AVX2 and AVX-512 by their prefix only.
#pragma once

// T: element; P: _mm256 or _mm512; s: ps or pd; e: epi32 or epi64; r: si256 or si512
#define TG_X86_LANES(T, P, s, e, r)                                                               \
  TG_INLINE Vec<T> operator+(Vec<T> x, Vec<T> y) { return {P##_add_##s(x.v, y.v)}; }              \
  TG_INLINE Vec<T> operator-(Vec<T> x, Vec<T> y) { return {P##_sub_##s(x.v, y.v)}; }              \
  TG_INLINE Vec<T> operator*(Vec<T> x, Vec<T> y) { return {P##_mul_##s(x.v, y.v)}; }              \
  TG_INLINE Vec<T> operator/(Vec<T> x, Vec<T> y) { return {P##_div_##s(x.v, y.v)}; }              \
  TG_INLINE Vec<T> fma(Vec<T> x, Vec<T> y, Vec<T> z) { return {P##_fmadd_##s(x.v, y.v, z.v)}; }   \
  TG_INLINE Vec<T> fnma(Vec<T> x, Vec<T> y, Vec<T> z) { return {P##_fnmadd_##s(x.v, y.v, z.v)}; } \
  TG_INLINE Vec<T> min(Vec<T> x, Vec<T> y) { return {P##_min_##s(x.v, y.v)}; }                    \
  TG_INLINE Vec<T> max(Vec<T> x, Vec<T> y) { return {P##_max_##s(x.v, y.v)}; }                    \
  TG_INLINE Vec<T> sqrt(Vec<T> x) { return {P##_sqrt_##s(x.v)}; }                                 \
                                                                                                  \
  TG_INLINE Int<T> bits_of(Vec<T> x) { return {P##_cast##s##_##r(x.v)}; }                         \
  TG_INLINE Vec<T> from_bits(Int<T> x) { return {P##_cast##r##_##s(x.i)}; }                       \
  TG_INLINE Int<T> operator+(Int<T> x, Int<T> y) { return {P##_add_##e(x.i, y.i)}; }              \
  TG_INLINE Int<T> operator-(Int<T> x, Int<T> y) { return {P##_sub_##e(x.i, y.i)}; }              \
  TG_INLINE Int<T> operator&(Int<T> x, Int<T> y) { return {P##_and_##r(x.i, y.i)}; }              \
  TG_INLINE Int<T> operator|(Int<T> x, Int<T> y) { return {P##_or_##r(x.i, y.i)}; }               \
  TG_INLINE Int<T> operator^(Int<T> x, Int<T> y) { return {P##_xor_##r(x.i, y.i)}; }              \
  template <int K>                                                                                \
  TG_INLINE Int<T> shl(Int<T> x) {                                                                \
    return {P##_slli_##e(x.i, K)};                                                                \
  }                                                                                               \
  template <int K>                                                                                \
  TG_INLINE Int<T> shr(Int<T> x) {                                                                \
    return {P##_srli_##e(x.i, K)};                                                                \
  }                                                                                               \
                                                                                                  \
  TG_INLINE Vec<T> neg(Vec<T> x) { return {P##_xor_##s(x.v, P##_set1_##s(T(-0.0)))}; }            \
  TG_INLINE Vec<T> abs(Vec<T> x) { return {P##_andnot_##s(P##_set1_##s(T(-0.0)), x.v)}; }         \
  TG_INLINE Vec<T> copysign(Vec<T> x, Vec<T> y) {                                                 \
    const auto sign = P##_set1_##s(T(-0.0));                                                      \
    return {P##_or_##s(P##_andnot_##s(sign, x.v), P##_and_##s(sign, y.v))};                       \
  }

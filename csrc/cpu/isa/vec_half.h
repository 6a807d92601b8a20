// Blocks of float16 and bfloat16 to float and back, rounding to nearest even.
//
// The conversions written in integers do not depend on the floating-point mode; neither do those of
// F16C and NEON, which ignore it for the half operand.
#pragma once
#include "core/view.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

TG_INLINE float float_of_bits(uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
TG_INLINE uint32_t bits_of_float(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}

TG_INLINE float widen(bfloat16 h) { return float_of_bits(uint32_t(h.bits) << 16); }
TG_INLINE float widen(half h) {
  const uint32_t sign = uint32_t(h.bits & 0x8000) << 16, a = h.bits & 0x7fff;
  // Subnormal: units of 2^-24, counted exactly in float.
  const float small = (float_of_bits(a | 0x4b000000) - 8388608.0f) * 0x1p-24f;
  const uint32_t large = (a << 13) + (a >= 0x7c00 ? 0x70000000 : 0x38000000) +
                         (a > 0x7c00 ? ~a << 13 & 0x400000 : 0);  // NaN becomes quiet
  return float_of_bits(sign | (a < 0x400 ? bits_of_float(small) : large));
}

TG_INLINE bfloat16 narrow_to(float f, bfloat16*) {
  const uint32_t u = bits_of_float(f), nan = u >> 16 | 0x40;
  return {uint16_t((u & 0x7fffffff) > 0x7f800000 ? nan : (u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
TG_INLINE half narrow_to(float f, half*) {
  const uint32_t u = bits_of_float(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  const uint32_t normal = (a + 0xfff + (a >> 13 & 1) - 0x38000000) >> 13;
  // Adding 1/2 rounds to units of 2^-24.
  const uint32_t small = bits_of_float(float_of_bits(a) + 0.5f) - 0x3f000000;
  const uint32_t finite = a < 0x38800000 ? small : normal;
  const uint32_t large = a > 0x7f800000 ? 0x7e00 | (a >> 13 & 0x3ff) : 0x7c00;
  return {uint16_t(sign | (a >= 0x477ff000 ? large : finite))};
}

#if defined(TG_ISA_avx512)
// Calls f with the position and the mask of every sixteen of n lanes.
template <class F>
TG_INLINE void each_16(int64_t n, F&& f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, __mmask16(-1));
  if (i < n) f(i, Vec<float>::first(int(n - i)));
}
inline void widen_block(float* out, const bfloat16* in, int64_t n) {
  each_16(n, [&](int64_t i, __mmask16 some) {
    const __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, in + i));
    _mm512_mask_storeu_epi32(out + i, some, _mm512_slli_epi32(x, 16));
  });
}
inline void narrow_block(bfloat16* out, const float* in, int64_t n) {
  const __m512i half_ulp = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
  const __m512i quiet = _mm512_set1_epi32(0x40);
  each_16(n, [&](int64_t i, __mmask16 some) {
    const __m512 x = _mm512_maskz_loadu_ps(some, in + i);
    const __m512i u = _mm512_castps_si512(x), high = _mm512_srli_epi32(u, 16);
    const __m512i even = _mm512_add_epi32(half_ulp, _mm512_and_si512(high, one));
    const __m512i near = _mm512_srli_epi32(_mm512_add_epi32(u, even), 16);
    const __m512i bits =
        _mm512_mask_or_epi32(near, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), high, quiet);
    _mm256_mask_storeu_epi16(out + i, some, _mm512_cvtepi32_epi16(bits));
  });
}
inline void widen_block(float* out, const half* in, int64_t n) {
  each_16(n, [&](int64_t i, __mmask16 some) {
    const __m512 x = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, in + i));
    _mm512_mask_storeu_ps(out + i, some, x);
  });
}
inline void narrow_block(half* out, const float* in, int64_t n) {
  each_16(n, [&](int64_t i, __mmask16 some) {
    const __m256i x = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(some, in + i), 0);
    _mm256_mask_storeu_epi16(out + i, some, x);
  });
}
#else
inline void widen_block(float* out, const bfloat16* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = widen(in[i]);
}
inline void narrow_block(bfloat16* out, const float* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = narrow_to(in[i], out);
}

inline void widen_block(float* out, const half* in, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (const int64_t whole = n & ~int64_t(7); i < whole; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(in + i))));
#elif defined(TG_ISA_neon)
  for (; i + 4 <= n; i += 4)
    vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&in[i].bits))));
#endif
  for (; i < n; ++i) out[i] = widen(in[i]);
}
inline void narrow_block(half* out, const float* in, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (const int64_t whole = n & ~int64_t(7); i < whole; i += 8)
    _mm_storeu_si128((__m128i*)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(in + i), 0));
#elif defined(TG_ISA_neon)
  for (; i + 4 <= n; i += 4)
    vst1_u16(&out[i].bits, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(in + i))));
#endif
  for (; i < n; ++i) out[i] = narrow_to(in[i], out);
}
#endif

}  // namespace TG_ISA
}  // namespace tg

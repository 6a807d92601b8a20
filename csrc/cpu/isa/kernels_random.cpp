// Random numbers per instruction set: blocks are lanes. Nothing is fused, so that all sets agree.
#if defined(__SSE2__) && !defined(TG_ISA_avx512) && !defined(TG_ISA_avx2)
#include <immintrin.h>
#endif

#include "cpu/isa/random_kernels.h"
#include "cpu/isa/vec.h"
#include "cpu/isa/vec_half.h"

namespace tg {
namespace TG_ISA {
namespace {

using Lanes = Int<double>;
constexpr int kLanes = Vec<double>::N;
constexpr int kBlocks = 32;  // drawn together
constexpr int kWords = 4 * kBlocks;
#if defined(TG_ISA_avx512)
constexpr int kSide = 4;  // vectors side by side
#else
constexpr int kSide = 2;
#endif

// Products of the low halves of the lanes; the even lanes of a and b in turns, and the odd ones.
#if defined(TG_ISA_avx512)
TG_INLINE Lanes multiply_low(Lanes a, Lanes b) { return {_mm512_mul_epu32(a.i, b.i)}; }
TG_INLINE Lanes evens(Lanes a, Lanes b) { return {_mm512_unpacklo_epi64(a.i, b.i)}; }
TG_INLINE Lanes odds(Lanes a, Lanes b) { return {_mm512_unpackhi_epi64(a.i, b.i)}; }
TG_INLINE void store(Lanes a, uint32_t* to) { _mm512_storeu_si512(to, a.i); }
#elif defined(TG_ISA_avx2)
TG_INLINE Lanes multiply_low(Lanes a, Lanes b) { return {_mm256_mul_epu32(a.i, b.i)}; }
TG_INLINE Lanes evens(Lanes a, Lanes b) { return {_mm256_unpacklo_epi64(a.i, b.i)}; }
TG_INLINE Lanes odds(Lanes a, Lanes b) { return {_mm256_unpackhi_epi64(a.i, b.i)}; }
TG_INLINE void store(Lanes a, uint32_t* to) { _mm256_storeu_si256((__m256i*)to, a.i); }
#else
TG_INLINE Lanes multiply_low(Lanes a, Lanes b) {
#if defined(__SSE2__)
  return {(lanes<double>::bits)_mm_mul_epu32((__m128i)a.i, (__m128i)b.i)};
#else
  return {lanes<double>::bits{uint64_t(uint32_t(a.i[0])) * uint32_t(b.i[0]),
                              uint64_t(uint32_t(a.i[1])) * uint32_t(b.i[1])}};
#endif
}
TG_INLINE Lanes evens(Lanes a, Lanes b) { return {lanes<double>::bits{a.i[0], b.i[0]}}; }
TG_INLINE Lanes odds(Lanes a, Lanes b) { return {lanes<double>::bits{a.i[1], b.i[1]}}; }
TG_INLINE void store(Lanes a, uint32_t* to) { __builtin_memcpy(to, &a.i, 16); }
#endif

// The words of kBlocks blocks. A lane holds a word in its low half; what is in its high half never
// matters, so that the halves of a product need no separating.
TG_INLINE void philox(PhiloxStream s, uint32_t* words) {
  alignas(64) uint64_t order[kLanes];  // so that evens and odds hold whole blocks in order
  for (int i = 0; i < kLanes; ++i) order[i] = uint64_t(i / 2 + i % 2 * (kLanes / 2));
  Lanes steps;
  __builtin_memcpy(&steps.i, order, sizeof order);
  const Lanes m0 = Lanes::set1(0xD2511F53u), m1 = Lanes::set1(0xCD9E8D57u);
  const Lanes low = Lanes::set1(0xffffffffu);
  for (int v = 0; v < kBlocks / kLanes; v += kSide) {
    Lanes c0[kSide], c1[kSide], c2[kSide], c3[kSide];
#pragma GCC unroll 4
    for (int i = 0; i < kSide; ++i) {
      c0[i] = Lanes::set1(s.block + uint64_t((v + i) * kLanes)) + steps;
      c1[i] = shr<32>(c0[i]);
      c2[i] = c3[i] = Lanes::set1(0);
    }
    Lanes k0 = Lanes::set1(s.key), k1 = Lanes::set1(s.key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
      for (int i = 0; i < kSide; ++i) {
        const Lanes a = multiply_low(c0[i], m0), b = multiply_low(c2[i], m1);
        c0[i] = shr<32>(b) ^ c1[i] ^ k0;
        c2[i] = shr<32>(a) ^ c3[i] ^ k1;
        c1[i] = b;
        c3[i] = a;
      }
      k0 = k0 + Lanes::set1(0x9E3779B9u);
      k1 = k1 + Lanes::set1(0xBB67AE85u);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kSide; ++i) {
      const Lanes first = (c0[i] & low) | shl<32>(c1[i]), second = (c2[i] & low) | shl<32>(c3[i]);
      uint32_t* const to = words + 4 * kLanes * (v + i);
      store(evens(first, second), to);
      store(odds(first, second), to + 2 * kLanes);
    }
  }
}

// Calls draw(words, i, out), which fills a whole group of elements, for the groups that cover the
// elements [skip, skip + n) of a stream; y[i] is element skip + i.
template <class T, int kEach, class Draw>
TG_INLINE void fill(PhiloxStream s, T* y, int64_t n, Draw draw, int skip = 0) {
  constexpr int64_t group = kWords / kEach;
  alignas(64) uint32_t words[kWords];
  for (int64_t i = -skip; i < n; i += group, s.block += kBlocks) {
    philox(s, words);
    if (i >= 0 && n - i >= group) {
      draw(words, i, y + i);
      continue;
    }
    T some[group];
    draw(words, i, some);
    const int64_t begin = i < 0 ? -i : 0, end = n - i < group ? n - i : group;
    if (begin < end) __builtin_memcpy(y + i + begin, some + begin, (end - begin) * sizeof(T));
  }
}

TG_INLINE uint64_t word64(const uint32_t* words, int i) {
  return uint64_t(words[2 * i + 1]) << 32 | words[2 * i];
}

template <class T>
constexpr int kWordsPerElement = sizeof(T) == 8 ? 2 : 1;

// As many bits as the fraction of T holds exactly, so that the result stays below 1.
TG_INLINE void uniforms(const uint32_t* words, float* out) {
  for (int i = 0; i < kWords; ++i) out[i] = float(int32_t(words[i] >> 8)) * 0x1p-24f;
}
TG_INLINE void uniforms(const uint32_t* words, double* out) {
  for (int i = 0; i < kWords / 2; ++i) out[i] = double(int64_t(word64(words, i) >> 11)) * 0x1p-53;
}
TG_INLINE void uniforms(const uint32_t* words, half* out) {
  float u[kWords];
  for (int i = 0; i < kWords; ++i) u[i] = float(int32_t(words[i] >> 21)) * 0x1p-11f;
  narrow_block(out, u, kWords);
}
TG_INLINE void uniforms(const uint32_t* words, bfloat16* out) {
  float u[kWords];
  for (int i = 0; i < kWords; ++i) u[i] = float(int32_t(words[i] >> 24)) * 0x1p-8f;
  narrow_block(out, u, kWords);
}

// log(x) of a normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh(s), s = (m - 1) / (m + 1), by the series of atanh.
TG_INLINE float log_positive(float x) {
  const int32_t bits = int32_t(bits_of_float(x)) - 0x3f3504f3;
  const int32_t e = bits >> 23;
  const float m = float_of_bits(uint32_t((bits & 0x7fffff) + 0x3f3504f3));
  const float s = (m - 1) / (m + 1), t = s * s;
  const float series = 1 + t * (1.f / 3 + t * (1.f / 5 + t * (1.f / 7 + t * (1.f / 9))));
  return 2 * s * series + float(e) * 0.693147180559945f;
}

// Box-Muller on pairs (u0, u1): u0 -> r cos(2 pi u1), u1 -> r sin(2 pi u1). The angle is reduced in
// turns, which is exact: u1 = q / 4 + f with |f| <= 1/8, then Taylor series.
TG_INLINE void box_muller(const uint32_t* words, float* out) {
  float u[kWords];
  uniforms(words, u);
  for (int i = 0; i < kWords; i += 2) {
    const float r = __builtin_sqrtf(-2 * log_positive(1 - u[i])), u1 = u[i + 1];
    const int32_t q = int32_t(u1 * 4 + 0.5f);
    const float x = (u1 - float(q) * 0.25f) * 6.283185307179586f, t = x * x;
    const float sine =
        x * (1 + t * (-1.f / 6 + t * (1.f / 120 + t * (-1.f / 5040 + t * (1.f / 362880)))));
    const float cosine = 1 + t * (-0.5f + t * (1.f / 24 + t * (-1.f / 720 + t * (1.f / 40320))));
    const bool swap = q & 1;
    const float c = swap ? sine : cosine, s = swap ? cosine : sine;
    out[i] = r * ((q + 1) & 2 ? -c : c);
    out[i + 1] = r * (q & 2 ? -s : s);
  }
}
TG_INLINE void box_muller(const uint32_t* words, double* out) {
  double u[kWords / 2];
  uniforms(words, u);
  for (int i = 0; i < kWords / 2; i += 2) {
    const double r = __builtin_sqrt(-2 * __builtin_log(1 - u[i]));
    const double angle = u[i + 1] * 6.283185307179586;
    out[i] = r * __builtin_cos(angle);
    out[i + 1] = r * __builtin_sin(angle);
  }
}
template <class S>
TG_INLINE void box_muller(const uint32_t* words, S* out) {
  float z[kWords];
  box_muller(words, z);
  narrow_block(out, z, kWords);
}

template <class T>
void uniform(PhiloxStream s, void* y, int64_t n) {
  fill<T, kWordsPerElement<T>>(
      s, (T*)y, n, [](const uint32_t* words, int64_t, T* out) { uniforms(words, out); });
}
template <class T>
void normal(PhiloxStream s, void* y, int64_t n) {
  fill<T, kWordsPerElement<T>>(
      s, (T*)y, n, [](const uint32_t* words, int64_t, T* out) { box_muller(words, out); });
}

// floor(u range / 2^64) is the high half of a 128-bit product.
void integers(PhiloxStream s, int64_t low, uint64_t range, int64_t* y, int64_t n) {
  fill<int64_t, 2>(s, y, n, [=](const uint32_t* words, int64_t, int64_t* out) {
    for (int i = 0; i < kWords / 2; ++i)
      out[i] = int64_t(uint64_t(low) + uint64_t((unsigned __int128)word64(words, i) * range >> 64));
  });
}

TG_INLINE bool kept(uint32_t word, int32_t threshold) { return int32_t(word >> 8) >= threshold; }

// What is dropped is zero even if it was not finite.
template <class T, class C>
void drop(const uint32_t* words, int32_t threshold, C scale, const T* x, T* y) {
  if constexpr (sizeof(T) == 2) {
    C wide[kWords];
    widen_block(wide, x, kWords);
    drop(words, threshold, scale, wide, wide);
    narrow_block(y, wide, kWords);
  } else {
    for (int i = 0; i < kWords; ++i) {
      const C product = x[i] * scale;
      y[i] = kept(words[i], threshold) ? product : C(0);
    }
  }
}
template <class T, class C>
void dropout(PhiloxStream s, const DropNumbers& d, const void* x_, void* y, int64_t n) {
  const T* const x = (const T*)x_;
  const int32_t threshold = int32_t(d.threshold);
  const C scale = C(d.scale);
  fill<T, 1>(s, (T*)y, n, [=](const uint32_t* words, int64_t i, T* out) {
    if (n - i >= kWords) return drop(words, threshold, scale, x + i, out);
    T last[kWords] = {};
    __builtin_memcpy(last, x + i, (n - i) * sizeof(T));
    drop(words, threshold, scale, last, out);
  });
}

void keep(PhiloxStream s, uint32_t threshold, uint8_t* y, int64_t n) {
  fill<uint8_t, 1>(s, y, n, [=](const uint32_t* words, int64_t, uint8_t* out) {
    for (int i = 0; i < kWords; ++i) out[i] = kept(words[i], int32_t(threshold));
  });
}

template <class T>
void factors(PhiloxStream s, const DropNumbers& d, int skip, T* y, int64_t n) {
  const int32_t threshold = int32_t(d.threshold);
  const T scale = T(d.scale);
  const auto draw = [=](const uint32_t* words, int64_t, T* out) {
    for (int i = 0; i < kWords; ++i) out[i] = kept(words[i], threshold) ? scale : T(0);
  };
  fill<T, 1>(s, y, n, draw, skip);
}

}  // namespace

extern const RandomKernels random_kernels;
const RandomKernels random_kernels{
    {uniform<half>, uniform<bfloat16>, uniform<float>, uniform<double>},
    {normal<half>, normal<bfloat16>, normal<float>, normal<double>},
    integers,
    {dropout<half, float>, dropout<bfloat16, float>, dropout<float, float>,
     dropout<double, double>},
    keep,
    factors<float>,
    factors<double>};

}  // namespace TG_ISA
}  // namespace tg

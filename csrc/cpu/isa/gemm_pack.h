// Packing of a strided matrix into panels, per instruction set.
#pragma once
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

// A square block of Vec<T>::N vectors turned over in registers: 2-2 interleaving of halves, log2(N)
// rounds. lanes[i] becomes column i.
#if defined(TG_ISA_avx512)
TG_INLINE void transpose(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 1] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 2] = _mm512_castpd_ps(
        _mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    r[i + 3] = _mm512_castpd_ps(
        _mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // quarters of 128 bits between rows i, i + 4, i + 8, i + 12
    const __m512 a = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    t[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}
TG_INLINE void transpose(__m512d (&r)[8]) {
  __m512d t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512d a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88);
    const __m512d b = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd);
    const __m512d c = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
    const __m512d d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
    r[i] = _mm512_shuffle_f64x2(a, c, 0x88);
    r[i + 4] = _mm512_shuffle_f64x2(a, c, 0xdd);
    r[i + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
    r[i + 6] = _mm512_shuffle_f64x2(b, d, 0xdd);
  }
}
#elif defined(TG_ISA_avx2)
TG_INLINE void transpose(__m256 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}
TG_INLINE void transpose(__m256d (&r)[4]) {
  const __m256d a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
  const __m256d c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
  r[0] = _mm256_permute2f128_pd(a, c, 0x20);
  r[1] = _mm256_permute2f128_pd(b, d, 0x20);
  r[2] = _mm256_permute2f128_pd(a, c, 0x31);
  r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
#endif

#if defined(TG_ISA_avx512) || defined(TG_ISA_avx2)
// dst[p * ld + l] = src[l * stride + p]: lanes [0, count) of k contiguous terms each.
template <class T>
void pack_turned(T* dst, int64_t ld, const T* src, int64_t stride, int64_t count, int64_t k) {
  using V = Vec<T>;
  for (int64_t l = 0; l < count; l += V::N) {
    const int lanes = count - l < V::N ? int(count - l) : V::N;
    for (int64_t p = 0; p < k; p += V::N) {
      const int terms = k - p < V::N ? int(k - p) : V::N;
      decltype(V::v) block[V::N];
      const T* from = src + l * stride + p;
      if (lanes == V::N && terms == V::N) {
#pragma GCC unroll 16
        for (int i = 0; i < V::N; ++i) block[i] = V::load(from + i * stride).v;
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < V::N; ++i)
          block[i] = V::load_n(from + (i < lanes ? i : 0) * stride, terms).v;
      }
      transpose(block);
      T* to = dst + p * ld + l;
      if (lanes == V::N && terms == V::N) {
#pragma GCC unroll 16
        for (int i = 0; i < V::N; ++i) V{block[i]}.store(to + i * ld);
      } else {
        for (int i = 0; i < terms; ++i) V{block[i]}.store_n(to + i * ld, lanes);
      }
    }
  }
}

#else
template <class T>
void pack_turned(T* dst, int64_t ld, const T* src, int64_t stride, int64_t count, int64_t k) {
  constexpr int64_t kTerms = 16;  // of every lane: whole cache lines are used while they are near
  for (int64_t p = 0; p < k; p += kTerms)
    for (int64_t l = 0; l < count; ++l)
      for (int64_t q = p; q < k && q < p + kTerms; ++q) dst[q * ld + l] = src[l * stride + q];
}
#endif

// See GemmTable::pack.
template <class T>
void pack(T* dst, int64_t ld, const T* src, int64_t lane_stride, int64_t k_stride, int64_t count,
          int64_t k) {
  using V = Vec<T>;
  if (lane_stride == 1) {
    for (int64_t p = 0; p < k; ++p) {
      int64_t l = 0;
      for (; l + V::N <= count; l += V::N) V::load(src + p * k_stride + l).store(dst + p * ld + l);
      if (l < count) {
        const int rest = int(count - l);
        V::load_n(src + p * k_stride + l, rest).store_n(dst + p * ld + l, rest);
      }
    }
  } else if (k_stride == 1 && count > 1) {
    pack_turned(dst, ld, src, lane_stride, count, k);
  } else {
    for (int64_t p = 0; p < k; ++p)
      for (int64_t l = 0; l < count; ++l) dst[p * ld + l] = src[l * lane_stride + p * k_stride];
  }
}

template <class T>
TG_INLINE void zeros(T* dst, int64_t n) {
  using V = Vec<T>;
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) V::set1(T(0)).store(dst + i);
  if (i < n) V::set1(T(0)).store_n(dst + i, int(n - i));
}

// See CopyRows.
template <class T>
void copy_rows(const CopyRows<T>& c) {
  using V = Vec<T>;
  for (int64_t r = 0; r < c.rows; ++r) {
    T* dst = c.dst + r * c.dst_pitch;
    const T* src = c.src + r * c.src_pitch;
    if (c.before > 0) zeros(dst, c.before);
    dst += c.before;
    if (c.src_step == 1) {
      int64_t i = 0;
      for (; i + V::N <= c.count; i += V::N) V::load(src + i).store(dst + i);
      if (i < c.count) V::load_n(src + i, int(c.count - i)).store_n(dst + i, int(c.count - i));
    } else {
      for (int64_t i = 0; i < c.count; ++i) dst[i] = src[i * c.src_step];
    }
    if (c.after > 0) zeros(dst + c.count, c.after);
  }
}

}  // namespace TG_ISA
}  // namespace tg

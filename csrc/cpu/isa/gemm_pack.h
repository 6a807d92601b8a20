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
#elif defined(TG_ISA_neon)
TG_INLINE void transpose(lanes<double>::values (&r)[2]) {
  const float64x2_t a = r[0], b = r[1];
  r[0] = vzip1q_f64(a, b);
  r[1] = vzip2q_f64(a, b);
}
TG_INLINE void transpose(lanes<float>::values (&r)[4]) {
  const float32x4_t a = vzip1q_f32(r[0], r[2]), b = vzip2q_f32(r[0], r[2]);
  const float32x4_t c = vzip1q_f32(r[1], r[3]), d = vzip2q_f32(r[1], r[3]);
  r[0] = vzip1q_f32(a, c);
  r[1] = vzip2q_f32(a, c);
  r[2] = vzip1q_f32(b, d);
  r[3] = vzip2q_f32(b, d);
}
#endif

#if !defined(TG_ISA_generic)
// A full block of rows from src as columns at dst. Every fourth row has a pointer, the others lie
// up to three strides further: sixteen addresses would not fit the registers.
template <class T>
TG_INLINE void turn_block(T* dst, int64_t ld, const T* src, int64_t stride) {
  using V = Vec<T>;
  decltype(V::v) block[V::N];
  if constexpr (V::N < 4) {
    for (int i = 0; i < V::N; ++i) block[i] = V::load(src + i * stride).v;
    transpose(block);
    for (int i = 0; i < V::N; ++i) V{block[i]}.store(dst + i * ld);
    return;
  }
#pragma GCC unroll 4
  for (int i = 0; i < V::N; i += 4, src += 4 * stride) {
    block[i] = V::load(src).v;
    block[i + 1] = V::load(src + stride).v;
    block[i + 2] = V::load(src + 2 * stride).v;
    block[i + 3] = V::load(src + 3 * stride).v;
  }
  transpose(block);
#pragma GCC unroll 4
  for (int i = 0; i < V::N; i += 4, dst += 4 * ld) {
    V{block[i]}.store(dst);
    V{block[i + 1]}.store(dst + ld);
    V{block[i + 2]}.store(dst + 2 * ld);
    V{block[i + 3]}.store(dst + 3 * ld);
  }
}

// At most V::N lanes and terms.
template <class T>
void turn_part(T* dst, int64_t ld, const T* src, int64_t stride, int lanes, int terms) {
  using V = Vec<T>;
  decltype(V::v) block[V::N];
  // Unrolled throughout, so that the block never leaves the registers.
#pragma GCC unroll 16
  for (int i = 0; i < V::N; ++i) block[i] = V::load_n(src + (i < lanes ? i : 0) * stride, terms).v;
  transpose(block);
#pragma GCC unroll 16
  for (int i = 0; i < V::N; ++i)
    if (i < terms) V{block[i]}.store_n(dst + i * ld, lanes);
}

// dst[p * ld + l] = src[l * stride + p]: lanes [0, count) of k contiguous terms each.
template <class T>
void pack_turned(T* dst, int64_t ld, const T* src, int64_t stride, int64_t count, int64_t k) {
  constexpr int kN = Vec<T>::N;
  for (int64_t l = 0; l < count; l += kN) {
    const int64_t lanes = count - l;
    int64_t p = 0;
    if (lanes >= kN)
      for (; p + kN <= k; p += kN) turn_block(dst + p * ld + l, ld, src + l * stride + p, stride);
    for (; p < k; p += kN)
      turn_part(dst + p * ld + l, ld, src + l * stride + p, stride, lanes < kN ? int(lanes) : kN,
                k - p < kN ? int(k - p) : kN);
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

// See GemmTable::gather.
template <class T>
void gather(T* dst, int64_t width, const T* src, const int64_t* offset, int64_t k) {
  using V = Vec<T>;
  for (int64_t p = 0; p < k; ++p, dst += width)
    for (int64_t j = 0; j < width; j += V::N) V::load(src + offset[p] + j).store(dst + j);
}

// Lanes [low, high) of a vector at p, zero elsewhere; only these are read. evens: every other lane
// of two vectors.
#if defined(TG_ISA_avx512)
TG_INLINE Vec<float> load_between(const float* p, int low, int high) {
  return {_mm512_maskz_loadu_ps(Vec<float>::first(high) & ~Vec<float>::first(low), p)};
}
TG_INLINE Vec<double> load_between(const double* p, int low, int high) {
  return {_mm512_maskz_loadu_pd(Vec<double>::first(high) & ~Vec<double>::first(low), p)};
}
TG_INLINE Vec<float> evens(Vec<float> a, Vec<float> b) {
  const __m512i at = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return {_mm512_permutex2var_ps(a.v, at, b.v)};
}
TG_INLINE Vec<double> evens(Vec<double> a, Vec<double> b) {
  return {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b.v)};
}
#elif defined(TG_ISA_avx2)
TG_INLINE Vec<float> load_between(const float* p, int low, int high) {
  using V = Vec<float>;
  return {_mm256_maskload_ps(p, _mm256_andnot_si256(V::first(low), V::first(high)))};
}
TG_INLINE Vec<double> load_between(const double* p, int low, int high) {
  using V = Vec<double>;
  return {_mm256_maskload_pd(p, _mm256_andnot_si256(V::first(low), V::first(high)))};
}
TG_INLINE Vec<float> evens(Vec<float> a, Vec<float> b) {
  const __m256 mixed = _mm256_shuffle_ps(a.v, b.v, 0x88);
  return {_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8))};
}
TG_INLINE Vec<double> evens(Vec<double> a, Vec<double> b) {
  return {_mm256_permute4x64_pd(_mm256_unpacklo_pd(a.v, b.v), 0xd8)};
}
#else
template <class T>
Vec<T> load_between(const T* p, int low, int high) {
  T lanes[Vec<T>::N] = {};
  for (int i = low; i < high; ++i) lanes[i] = p[i];
  return Vec<T>::load(lanes);
}
#if defined(TG_ISA_neon)
TG_INLINE Vec<float> evens(Vec<float> a, Vec<float> b) { return {vuzp1q_f32(a.v, b.v)}; }
TG_INLINE Vec<double> evens(Vec<double> a, Vec<double> b) { return {vuzp1q_f64(a.v, b.v)}; }
#else
template <class T>
Vec<T> evens(Vec<T> a, Vec<T> b) {
  T lanes[2 * Vec<T>::N], out[Vec<T>::N];
  a.store(lanes);
  b.store(lanes + Vec<T>::N);
  for (int i = 0; i < Vec<T>::N; ++i) out[i] = lanes[2 * i];
  return Vec<T>::load(out);
}
#endif
#endif

TG_INLINE int clamp(int64_t x, int64_t most) { return int(x < 0 ? 0 : x < most ? x : most); }

// Every STEP-th of the elements [from, to) at p, zero for the others; STEP a power of two.
template <int STEP, class T>
TG_INLINE Vec<T> load_strided(const T* p, int64_t from, int64_t to) {
  constexpr int N = Vec<T>::N, HALF = STEP / 2;
  if constexpr (STEP == 1)
    return load_between(p, clamp(from, N), clamp(to, N));
  else
    return evens(load_strided<HALF>(p, from, to),
                 load_strided<HALF>(p + N * HALF, from - N * HALF, to - N * HALF));
}

// See FoldRows.
template <class T>
void fold_rows(const FoldRows<T>& f) {
  using V = Vec<T>;
  for (int64_t x = 0; x < f.width; x += V::N) {
    V sum = V::set1(T(0));
    for (int64_t i = 0; i < f.k; ++i) {
      const int64_t at = x - f.first[i];
      const int low = clamp(-at, V::N), high = clamp(f.count - at, V::N);
      if (low < high) sum = sum + load_between(f.src + f.offset[i] + at, low, high);
    }
    if (x + V::N <= f.width)
      sum.store(f.to + x);
    else
      sum.store_n(f.to + x, int(f.width - x));
  }
}

// Columns [at, at + V::N) of all rows. Zeros come for free with the masks.
template <int STEP, class T>
TG_INLINE void copy_columns(const CopyRows<T>& c, int64_t at, int64_t width) {
  using V = Vec<T>;
  const int low = clamp(c.before - at, V::N), high = clamp(c.before + c.count - at, V::N);
  const int lanes = clamp(width - at, V::N);
  const bool inner = low == 0 && high == V::N;
  const T* src = c.src + (at - c.before) * STEP;
  T* dst = c.dst + at;
  const int from = STEP * low, to = high > low ? STEP * (high - 1) + 1 : from;
  for (int64_t r = 0; r < c.rows; ++r, src += c.src_pitch, dst += c.dst_pitch) {
    V x;
    if (STEP == 1 && inner)
      x = V::load(src);
    else
      x = load_strided<STEP>(src, from, to);
    if (lanes == V::N)
      x.store(dst);
    else
      x.store_n(dst, lanes);
  }
}

// See CopyRows.
template <class T>
void copy_rows(const CopyRows<T>& c) {
  const int64_t width = c.before + c.count + c.after;
  if (c.src_step == 1 || c.src_step == 2 || c.src_step == 4) {
    for (int64_t at = 0; at < width; at += Vec<T>::N)
      c.src_step == 1   ? copy_columns<1>(c, at, width)
      : c.src_step == 2 ? copy_columns<2>(c, at, width)
                        : copy_columns<4>(c, at, width);
    return;
  }
  for (int64_t r = 0; r < c.rows; ++r) {
    T* dst = c.dst + r * c.dst_pitch;
    const T* src = c.src + r * c.src_pitch;
    for (int64_t i = 0; i < c.before; ++i) dst[i] = T(0);
    dst += c.before;
    for (int64_t i = 0; i < c.count; ++i) dst[i] = src[i * c.src_step];
    for (int64_t i = 0; i < c.after; ++i) dst[c.count + i] = T(0);
  }
}

}  // namespace TG_ISA
}  // namespace tg

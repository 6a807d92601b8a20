#include "cpu/isa/depthwise_kernels.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {
namespace {

using V = Vec<float>;

// Lanes whose bit is set; the others read as zero and are not touched.
TG_INLINE V load_where(const float* p, uint32_t bits) {
#if defined(TG_ISA_avx512)
  return {_mm512_maskz_loadu_ps(__mmask16(bits), p)};
#elif defined(TG_ISA_avx2)
  const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(int(bits)), lane);
  return {_mm256_maskload_ps(p, _mm256_cmpeq_epi32(set, lane))};
#else
  if (bits == (1u << V::N) - 1) return V::load(p);
  float lanes[V::N];
  for (int i = 0; i < V::N; ++i) lanes[i] = bits >> i & 1 ? p[i] : 0.0f;
  return V::load(lanes);
#endif
}

// TAPS stay in registers; 0: any number.
template <int TAPS>
void correlate(const DepthwiseArgs& d, const float* w, const float* x, const float* bias,
               float* y) {
  const int64_t taps = TAPS > 0 ? TAPS : d.taps;
  int64_t offset[TAPS > 0 ? TAPS : 1];
#pragma GCC unroll 16
  for (int t = 0; t < TAPS; ++t) offset[t] = d.offset[t];
  for (int64_t p = 0; p < d.planes; ++p, w += taps, x += d.in, y += d.out) {
    V weights[TAPS > 0 ? TAPS : 1];
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t) weights[t] = V::set1(w[t]);
    const V start = V::set1(bias[p]);
    const uint32_t* mask = d.masks;
    for (int64_t q = 0; q < d.size; q += V::N, mask += taps) {
      V sum = start;
      if (TAPS > 0) {
#pragma GCC unroll 16
        for (int t = 0; t < TAPS; ++t)
          sum = fma(weights[t], load_where(x + q + offset[t], mask[t]), sum);
      } else {
        for (int64_t t = 0; t < taps; ++t)
          sum = fma(V::set1(w[t]), load_where(x + q + d.offset[t], mask[t]), sum);
      }
      if (q + V::N <= d.size)
        sum.store(y + q);
      else
        sum.store_n(y + q, int(d.size - q));
    }
  }
}

// Planes of the gradient of the weight that share the masks while they are in registers.
#if defined(TG_ISA_avx512)
constexpr int kTogether = 2;
#else
constexpr int kTogether = 1;
#endif

// Adds some planes to the sums of a block of taps, plane by plane apart.
template <int TAPS, int PLANES>
TG_INLINE void add_planes(const DepthwiseArgs& d, const int64_t* offset, const uint32_t* mask,
                          const float* g, const float* x, V (&acc)[kTogether][TAPS]) {
  for (int64_t q = 0; q < d.size; q += V::N, mask += d.taps) {
    V y[PLANES];
#pragma GCC unroll 2
    for (int k = 0; k < PLANES; ++k) {
      const float* from = g + k * d.out + q;
      y[k] = q + V::N <= d.size ? V::load(from) : V::load_n(from, int(d.size - q));
    }
#pragma GCC unroll 16
    for (int t = 0; t < TAPS; ++t)
#pragma GCC unroll 2
      for (int k = 0; k < PLANES; ++k)
        acc[k][t] = fma(y[k], load_where(x + k * d.in + q + offset[t], mask[t]), acc[k][t]);
  }
}

// A block of taps at a time, whose sums stay in registers.
template <int TAPS>
void weight_block(const DepthwiseArgs& d, int64_t first, const float* g, const float* x,
                  float* sums) {
  V acc[kTogether][TAPS];
  int64_t offset[TAPS];
#pragma GCC unroll 16
  for (int t = 0; t < TAPS; ++t) {
    offset[t] = d.offset[first + t];
#pragma GCC unroll 2
    for (int k = 0; k < kTogether; ++k) acc[k][t] = V::set1(0.0f);
  }
  const uint32_t* const mask = d.masks + first;
  int64_t p = 0;
  for (; p + kTogether <= d.planes; p += kTogether)
    add_planes<TAPS, kTogether>(d, offset, mask, g + p * d.out, x + p * d.in, acc);
  for (; p < d.planes; ++p) add_planes<TAPS, 1>(d, offset, mask, g + p * d.out, x + p * d.in, acc);
#pragma GCC unroll 16
  for (int t = 0; t < TAPS; ++t) {
    V sum = acc[0][t];
#pragma GCC unroll 2
    for (int k = 1; k < kTogether; ++k) sum = sum + acc[k][t];
    sum.store(sums + (first + t) * V::N);
  }
}

void correlate_any(const DepthwiseArgs& d, const float* w, const float* x, const float* bias,
                   float* y) {
  d.taps == 9 ? correlate<9>(d, w, x, bias, y) : correlate<0>(d, w, x, bias, y);
}

void weight(const DepthwiseArgs& d, const float* g, const float* x, float* sums) {
  int64_t t = 0;
  for (; t + 9 <= d.taps; t += 9) weight_block<9>(d, t, g, x, sums);
  for (; t < d.taps; ++t) weight_block<1>(d, t, g, x, sums);
}

}  // namespace

extern const DepthwiseKernels depthwise_kernels;
const DepthwiseKernels depthwise_kernels{V::N, correlate_any, weight};

}  // namespace TG_ISA
}  // namespace tg

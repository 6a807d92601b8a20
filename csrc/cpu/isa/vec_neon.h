// Four floats or two doubles: NEON. The lanes of vec_generic.h are its registers already; here is
// what the compiler's vector types do not express.
#pragma once
#include <arm_neon.h>

#include "cpu/isa/vec_generic.h"

namespace tg {
namespace TG_ISA {

template <>
TG_INLINE Vec<float> Vec<float>::load_n(const float* p, int n) {
  float32x4_t v = vdupq_n_f32(0);
  if (n >= 4) return load(p);
  if (n >= 2) v = vcombine_f32(vld1_f32(p), vdup_n_f32(0));
  if (n == 3) v = vld1q_lane_f32(p + 2, v, 2);
  if (n == 1) v = vld1q_lane_f32(p, v, 0);
  return {v};
}
template <>
TG_INLINE void Vec<float>::store_n(float* p, int n) const {
  if (n >= 4) return store(p);
  if (n >= 2) vst1_f32(p, vget_low_f32(v));
  if (n == 3) vst1q_lane_f32(p + 2, v, 2);
  if (n == 1) vst1q_lane_f32(p, v, 0);
}
template <>
TG_INLINE Vec<double> Vec<double>::load_n(const double* p, int n) {
  if (n >= 2) return load(p);
  return {n == 1 ? vld1q_lane_f64(p, vdupq_n_f64(0), 0) : vdupq_n_f64(0)};
}
template <>
TG_INLINE void Vec<double>::store_n(double* p, int n) const {
  if (n >= 2) return store(p);
  if (n == 1) vst1q_lane_f64(p, v, 0);
}

#define TG_NEON_LANES(T, s)                                                                  \
  TG_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) { return {vfmaq_##s(c.v, a.v, b.v)}; }  \
  TG_INLINE Vec<T> fnma(Vec<T> a, Vec<T> b, Vec<T> c) { return {vfmsq_##s(c.v, a.v, b.v)}; } \
  TG_INLINE Vec<T> sqrt(Vec<T> a) { return {vsqrtq_##s(a.v)}; }                              \
  TG_INLINE Vec<T> abs(Vec<T> a) { return {vabsq_##s(a.v)}; }                                \
  TG_INLINE Vec<T> round(Vec<T> a) { return {vrndnq_##s(a.v)}; }                             \
  TG_INLINE Vec<T> floor(Vec<T> a) { return {vrndmq_##s(a.v)}; }                             \
  TG_INLINE Vec<T> ceil(Vec<T> a) { return {vrndpq_##s(a.v)}; }                              \
  TG_INLINE Vec<T> trunc(Vec<T> a) { return {vrndq_##s(a.v)}; }

TG_NEON_LANES(float, f32)
TG_NEON_LANES(double, f64)
#undef TG_NEON_LANES

TG_INLINE float hsum(Vec<float> a) {
  return vpadds_f32(vadd_f32(vget_low_f32(a.v), vget_high_f32(a.v)));
}
TG_INLINE Vec<double> widen_low(Vec<float> a) { return {vcvt_f64_f32(vget_low_f32(a.v))}; }
TG_INLINE Vec<double> widen_high(Vec<float> a) { return {vcvt_high_f64_f32(a.v)}; }
TG_INLINE Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {vcvt_high_f32_f64(vcvt_f32_f64(low.v), high.v)};
}

}  // namespace TG_ISA
}  // namespace tg

// Four floats or two doubles in the compiler's own vector types: SSE2, and the base of vec_neon.h.
#pragma once
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

template <class T>
struct lanes;
template <>
struct lanes<float> {
  typedef float values __attribute__((vector_size(16)));
  typedef uint32_t bits __attribute__((vector_size(16)));
  typedef int32_t truth __attribute__((vector_size(16)));
  static constexpr float whole = 8388608;  // 2^23: from here on every value is an integer
  static TG_INLINE values all(float x) { return values{x, x, x, x}; }
  static TG_INLINE bits all_bits(uint32_t x) { return bits{x, x, x, x}; }
};
template <>
struct lanes<double> {
  typedef double values __attribute__((vector_size(16)));
  typedef uint64_t bits __attribute__((vector_size(16)));
  typedef int64_t truth __attribute__((vector_size(16)));
  static constexpr double whole = 4503599627370496;  // 2^52
  static TG_INLINE values all(double x) { return values{x, x}; }
  static TG_INLINE bits all_bits(uint64_t x) { return bits{x, x}; }
};

template <class T>
struct Mask {
  typename lanes<T>::truth m;
};

template <class T>
struct Vec {
  static constexpr int N = 16 / sizeof(T);
  typename lanes<T>::values v;

  static TG_INLINE Vec set1(T x) { return {lanes<T>::all(x)}; }
  static TG_INLINE Vec load(const T* p) {
    Vec x;
    __builtin_memcpy(&x.v, p, 16);
    return x;
  }
  static TG_INLINE Vec load_n(const T* p, int n) {
    Vec x{typename lanes<T>::values{}};
    for (int i = 0; i < n; ++i) x.v[i] = p[i];
    return x;
  }
  TG_INLINE void store(T* p) const { __builtin_memcpy(p, &v, 16); }
  TG_INLINE void store_n(T* p, int n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
};

template <class T>
struct Int {
  typename lanes<T>::bits i;
  static TG_INLINE Int set1(lane_bits_t<T> x) { return {lanes<T>::all_bits(x)}; }
};

#define TG_EACH      \
  template <class T> \
  TG_INLINE

TG_EACH Vec<T> operator+(Vec<T> a, Vec<T> b) { return {a.v + b.v}; }
TG_EACH Vec<T> operator-(Vec<T> a, Vec<T> b) { return {a.v - b.v}; }
TG_EACH Vec<T> operator*(Vec<T> a, Vec<T> b) { return {a.v * b.v}; }
TG_EACH Vec<T> operator/(Vec<T> a, Vec<T> b) { return {a.v / b.v}; }

TG_EACH Mask<T> operator<(Vec<T> a, Vec<T> b) { return {a.v < b.v}; }
TG_EACH Mask<T> operator<=(Vec<T> a, Vec<T> b) { return {a.v <= b.v}; }
TG_EACH Mask<T> operator>(Vec<T> a, Vec<T> b) { return {a.v > b.v}; }
TG_EACH Mask<T> operator>=(Vec<T> a, Vec<T> b) { return {a.v >= b.v}; }
TG_EACH Mask<T> operator==(Vec<T> a, Vec<T> b) { return {a.v == b.v}; }
TG_EACH Mask<T> operator!=(Vec<T> a, Vec<T> b) { return {a.v != b.v}; }

TG_EACH Mask<T> operator&(Mask<T> a, Mask<T> b) { return {a.m & b.m}; }
TG_EACH Mask<T> operator|(Mask<T> a, Mask<T> b) { return {a.m | b.m}; }
TG_EACH Mask<T> operator^(Mask<T> a, Mask<T> b) { return {a.m ^ b.m}; }
TG_EACH Mask<T> operator~(Mask<T> a) { return {~a.m}; }
TG_EACH bool any(Mask<T> a) {
  uint64_t words[2];
  __builtin_memcpy(words, &a.m, 16);
  return (words[0] | words[1]) != 0;
}

TG_EACH Int<T> bits_of(Vec<T> a) { return {(typename lanes<T>::bits)a.v}; }
TG_EACH Vec<T> from_bits(Int<T> a) { return {(typename lanes<T>::values)a.i}; }
TG_EACH Int<T> operator+(Int<T> a, Int<T> b) { return {a.i + b.i}; }
TG_EACH Int<T> operator-(Int<T> a, Int<T> b) { return {a.i - b.i}; }
TG_EACH Int<T> operator&(Int<T> a, Int<T> b) { return {a.i & b.i}; }
TG_EACH Int<T> operator|(Int<T> a, Int<T> b) { return {a.i | b.i}; }
TG_EACH Int<T> operator^(Int<T> a, Int<T> b) { return {a.i ^ b.i}; }
template <int K, class T>
TG_INLINE Int<T> shl(Int<T> a) {
  return {a.i << K};
}
template <int K, class T>
TG_INLINE Int<T> shr(Int<T> a) {
  return {a.i >> K};
}
TG_EACH Mask<T> equal(Int<T> a, Int<T> b) { return {a.i == b.i}; }
TG_EACH Mask<T> above(Int<T> a, Int<T> b) {
  return {(typename lanes<T>::truth)a.i > (typename lanes<T>::truth)b.i};
}

TG_EACH Int<T> select(Mask<T> m, Int<T> a, Int<T> b) {
  const auto k = (typename lanes<T>::bits)m.m;
  return {(a.i & k) | (b.i & ~k)};
}
TG_EACH Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) {
  return from_bits(select(m, bits_of(a), bits_of(b)));
}

// Two roundings: the baseline has no fused multiply-add.
TG_EACH Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) { return {a.v * b.v + c.v}; }
TG_EACH Vec<T> neg(Vec<T> a) { return {-a.v}; }
TG_EACH Vec<T> fnma(Vec<T> a, Vec<T> b, Vec<T> c) { return fma(neg(a), b, c); }
TG_EACH Vec<T> min(Vec<T> a, Vec<T> b) { return {a.v < b.v ? a.v : b.v}; }
TG_EACH Vec<T> max(Vec<T> a, Vec<T> b) { return {a.v > b.v ? a.v : b.v}; }
TG_EACH Vec<T> sqrt(Vec<T> a) {
  for (int i = 0; i < Vec<T>::N; ++i)
    a.v[i] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(a.v[i]))) : T(__builtin_sqrt(a.v[i]));
  return a;
}
TG_EACH Int<T> sign_bit() { return Int<T>::set1(lane_bits_t<T>(1) << (8 * sizeof(T) - 1)); }
TG_EACH Vec<T> abs(Vec<T> a) { return from_bits(Int<T>{bits_of(a).i & ~sign_bit<T>().i}); }
TG_EACH Vec<T> copysign(Vec<T> a, Vec<T> b) {
  return from_bits(bits_of(abs(a)) | (bits_of(b) & sign_bit<T>()));
}

// Adding and taking away 2^23 (2^52) rounds to an integer; the sign also carries over to zeros.
TG_EACH Vec<T> whole_or(Vec<T> a, Vec<T> rounded) {
  return select(abs(a) < Vec<T>::set1(lanes<T>::whole), copysign(rounded, a), a);
}
TG_EACH Vec<T> nearest(Vec<T> a) {
  const Vec<T> big = Vec<T>::set1(lanes<T>::whole);
  return copysign((abs(a) + big) - big, a);
}
TG_EACH Vec<T> round(Vec<T> a) { return whole_or(a, nearest(a)); }
TG_EACH Vec<T> floor(Vec<T> a) {
  const Vec<T> r = nearest(a), zero = Vec<T>::set1(0), one = Vec<T>::set1(1);
  return whole_or(a, r - select(r > a, one, zero));
}
TG_EACH Vec<T> ceil(Vec<T> a) { return neg(floor(neg(a))); }
TG_EACH Vec<T> trunc(Vec<T> a) { return copysign(floor(abs(a)), a); }

#undef TG_EACH

TG_INLINE double hsum(Vec<double> a) { return a.v[0] + a.v[1]; }
TG_INLINE float hmax(Vec<float> a) {
  const float x = a.v[0] > a.v[2] ? a.v[0] : a.v[2], y = a.v[1] > a.v[3] ? a.v[1] : a.v[3];
  return x > y ? x : y;
}
TG_INLINE double hmax(Vec<double> a) { return a.v[0] > a.v[1] ? a.v[0] : a.v[1]; }

#if !defined(TG_ISA_neon)  // which has instructions for these
TG_INLINE float hsum(Vec<float> a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }
TG_INLINE Vec<double> widen_low(Vec<float> a) {
  return {lanes<double>::values{double(a.v[0]), double(a.v[1])}};
}
TG_INLINE Vec<double> widen_high(Vec<float> a) {
  return {lanes<double>::values{double(a.v[2]), double(a.v[3])}};
}
TG_INLINE Vec<float> narrow(Vec<double> low, Vec<double> high) {
  return {
      lanes<float>::values{float(low.v[0]), float(low.v[1]), float(high.v[0]), float(high.v[1])}};
}
#endif

}  // namespace TG_ISA
}  // namespace tg

// exp, exp2, expm1, sigmoid, tanh of float and double lanes.
//
// Range reduction after Cody and Waite; expm1 keeps the two parts of 2^n - 1 + 2^n r apart
// (Dekker's fast sum). Errors stay below 2 ulp with and without fused multiply-add. Results smaller
// than the smallest normal number are zero, as under flush-to-zero, which kernels run with.
#pragma once
#include "cpu/isa/math_tables.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {

template <class T>
TG_INLINE Vec<T> all(T x) {
  return Vec<T>::set1(x);
}
template <class T>
TG_INLINE Vec<T> infinity() {
  return all(T(__builtin_inf()));
}

// Horner's scheme; c[0] is the constant term.
template <class T, int N>
TG_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  Vec<T> y = all(c[N - 1]);
#pragma GCC unroll 32
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, all(c[i]));
  return y;
}

// The nearest integer to x, |x| < 2^(mantissa - 2): as a value, and as n in the low bits.
template <class T>
struct Nearest {
  Vec<T> value;
  Int<T> bits;
};
template <class T>
TG_INLINE Nearest<T> nearest_of_product(Vec<T> x, T factor) {
  const Vec<T> magic = all(T(3) * T(lane_bits_t<T>(1) << (tables<T>::mantissa - 1)));
  const Vec<T> shifted = fma(x, all(factor), magic);
  return {shifted - magic, bits_of(shifted)};
}

// y * 2^n, right where y and the result are normal.
template <class T>
TG_INLINE Vec<T> scale(Vec<T> y, Int<T> n) {
  return from_bits(bits_of(y) + shl<tables<T>::mantissa>(n));
}
// 2^(n + Add), a normal number.
template <int Add, class T>
TG_INLINE Vec<T> power_of_two(Int<T> n) {
  return from_bits(shl<tables<T>::mantissa>(n + Int<T>::set1(tables<T>::bias + Add)));
}

// y between the bounds, infinity above, zero below, NaN for NaN.
template <class T>
TG_INLINE Vec<T> bounded(Vec<T> y, Vec<T> x, T low, T high) {
  y = select(x <= all(high), y, x + infinity<T>());
  return select(x < all(low), all(T(0)), y);
}

// exp(x) = 2^n (1 + q), |q| < 0.42.
template <class T>
struct ExpParts {
  Vec<T> q;
  Int<T> n;
};
template <class T>
TG_INLINE ExpParts<T> exp_parts(Vec<T> x) {
  using C = tables<T>;
  const Nearest<T> n = nearest_of_product(x, C::log2_e);
  const Vec<T> r = fnma(n.value, all(C::ln2_low), fnma(n.value, all(C::ln2_high), x));
  return {fma(r * r, polynomial(r, C::exp), r), n.bits};
}
// Of x + low, |low| much smaller than 1; the small terms are added first.
template <class T>
TG_INLINE ExpParts<T> exp_parts(Vec<T> x, Vec<T> low) {
  using C = tables<T>;
  const Nearest<T> n = nearest_of_product(x, C::log2_e);
  const Vec<T> r = fnma(n.value, all(C::ln2_high), x) + fnma(n.value, all(C::ln2_low), low);
  return {fma(r * r, polynomial(r, C::exp), r), n.bits};
}

template <class T>
TG_INLINE Vec<T> exp(Vec<T> x) {
  const ExpParts<T> e = exp_parts(x);
  const Vec<T> y = scale(all(T(1)) + e.q, e.n);
  return bounded(y, x, tables<T>::exp_low, tables<T>::exp_high);
}

template <class T>
TG_INLINE Vec<T> exp2(Vec<T> x) {
  using C = tables<T>;
  const Nearest<T> n = nearest_of_product(x, T(1));
  const Vec<T> r = x - n.value;
  const Vec<T> y = fma(r, polynomial(r, C::exp2), all(T(1)));
  return bounded(scale(y, n.bits), x, C::exp2_low, C::exp2_high);
}

template <class T>
TG_INLINE Vec<T> expm1(Vec<T> x) {
  using C = tables<T>;
  // Below this bound the result is -1; NaN passes through max.
  const Vec<T> z = max(all(T(-40)), x), half = all(T(0.5));
  const Nearest<T> n = nearest_of_product(z, C::log2_e);
  const Vec<T> r_high = fnma(n.value, all(C::ln2_high), z), r_low = n.value * all(C::ln2_low);
  const Vec<T> r = r_high - r_low, rest = (r_high - r) - r_low;
  const Vec<T> curve = fma(r * r, polynomial(r, C::exp), rest);  // expm1(r) - r
  const Vec<T> s = power_of_two<-1>(n.bits), sr = s * r, line = s - half;
  const Vec<T> sum = line + sr, lost = sr - (sum - line);
  const Vec<T> y = all(T(2)) * (sum + fma(s, curve, lost));
  return select(abs(x) < all(C::tiny), x, select(x <= all(C::exp_high), y, x + infinity<T>()));
}

// 1 / (1 + e^-x), where 1 + e^-x = (1 + 2^n) + 2^n q in two parts.
template <class T>
TG_INLINE Vec<T> sigmoid(Vec<T> x) {
  const Vec<T> one = all(T(1)), low = all(tables<T>::exp_low);
  const ExpParts<T> e = exp_parts(min(neg(low), max(all(T(-40)), neg(x))));
  const Vec<T> s = power_of_two<0>(e.n), sum = one + s;
  const Vec<T> lost = min(one, s) - (sum - max(one, s));
  return select(x < low, all(T(0)), one / (sum + fma(s, e.q, lost)));
}

template <class T>
TG_INLINE Vec<T> tanh(Vec<T> x) {
  const Vec<T> a = abs(x), y = x * x, one = all(T(1));
  const Vec<T> near = fma(x * y, polynomial(y, tables<T>::tanh), x);
  const Vec<T> far = one - all(T(2)) / (exp(a + a) + one);
  return copysign(select(a < all(T(0.625)), near, far), x);
}

}  // namespace TG_ISA
}  // namespace tg

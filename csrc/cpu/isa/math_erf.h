// erf and erfc of float and double lanes: at most 4 ulp.
//
// erfc(a) = exp(-a^2) erfcx(a), where (1 + a) erfcx(a) is a polynomial in (a - c) / (a + c)
// (Shepherd and Laframboise, 1981). a^2 is split so that its rounding does not reach the
// exponential.
#pragma once
#include "cpu/isa/math_exp.h"

namespace tg {
namespace TG_ISA {

// erfc(a) for a >= 0.
template <class T>
TG_INLINE Vec<T> erfc_of_positive(Vec<T> a) {
  using C = tables<T>;
  const Vec<T> limit = all(C::erfc_zero), b = min(limit, a), center = all(C::erfcx_center);
  const Vec<T> head = from_bits(bits_of(b) & Int<T>::set1(C::half_bits));
  const ExpParts<T> e = exp_parts(neg(head * head), (head - b) * (head + b));
  const Vec<T> p = polynomial((b - center) / (b + center), C::erfcx);
  const Vec<T> y = fma(p, e.q, p) / (all(T(1)) + b) * power_of_two<0>(e.n);
  return select(a > limit, all(T(0)), y);
}

template <class T>
TG_INLINE Vec<T> erfc(Vec<T> x) {
  const Vec<T> y = erfc_of_positive(abs(x));
  return select(x < all(T(0)), all(T(2)) - y, y);
}

template <class T>
TG_INLINE Vec<T> erf(Vec<T> x) {
  const Vec<T> a = abs(x);
  const Vec<T> near = x * (all(T(1)) + polynomial(x * x, tables<T>::erf));
  const Vec<T> far = all(T(1)) - erfc_of_positive(a);
  return select(a < all(T(0.9)), near, copysign(far, x));
}

}  // namespace TG_ISA
}  // namespace tg

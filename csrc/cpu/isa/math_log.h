// log, log1p, log2, log10 of float and double lanes, after Tang (1990) as arranged by Sun's fdlibm:
// x = 2^k (1 + f), s = f / (2 + f), log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)).
// Subnormal arguments are scaled by integer arithmetic, which flush-to-zero cannot touch.
#pragma once
#include "cpu/isa/math_exp.h"

namespace tg {
namespace TG_ISA {

// log(1 + f) = f - (square - curve) with x = 2^k (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2).
template <class T>
struct LogParts {
  Vec<T> k, f, square, curve;
};
// For positive finite x.
template <class T>
TG_INLINE LogParts<T> log_parts(Vec<T> x) {
  using C = tables<T>;
  using I = Int<T>;
  constexpr int M = C::mantissa;
  constexpr lane_bits_t<T> unit = 1, fraction = (unit << M) - 1, root = C::root_half_bits;
  constexpr lane_bits_t<T> whole = (C::bias + M) << M;  // of 2^M, whose last bit counts 1
  const T two_m = T(unit << M);
  const Mask<T> subnormal = above(I::set1(unit << M), bits_of(x));
  const Vec<T> scaled = from_bits(bits_of(x) | I::set1(whole)) - all(two_m);
  const I normal = select(subnormal, bits_of(scaled), bits_of(x));
  const I t = normal + I::set1((C::bias << M) - root);
  const Vec<T> shift = select(subnormal, all(two_m + T(2 * C::bias + M - 1)), all(two_m + C::bias));
  const Vec<T> k = from_bits(shr<M>(t) | I::set1(whole)) - shift;
  const Vec<T> f = from_bits((t & I::set1(fraction)) + I::set1(root)) - all(T(1));
  const Vec<T> s = f / (all(T(2)) + f), z = s * s, square = all(T(0.5)) * f * f;
  return {k, f, square, s * (square + z * polynomial(z, C::log))};
}

// y for positive finite x, else what a logarithm has there: -infinity, infinity or NaN.
template <class T>
TG_INLINE Vec<T> or_log_limit(Vec<T> x, Vec<T> y) {
  using I = Int<T>;
  const I bits = bits_of(x), zero = I::set1(0);
  const Mask<T> usual = above(bits, zero) & above(bits_of(infinity<T>()), bits);
  const Vec<T> nan = all(T(__builtin_nan("")));
  const Vec<T> limit =
      select(equal(shl<1>(bits), zero), neg(infinity<T>()), select(above(zero, bits), nan, x));
  return select(usual, y, limit);
}

// log of x + x_rest, |x_rest| at most half a unit of x's last place.
template <class T>
TG_INLINE Vec<T> log_sum(Vec<T> x, Vec<T> rest) {
  using C = tables<T>;
  const LogParts<T> p = log_parts(x);
  const Vec<T> low = fma(p.k, all(C::ln2_low), rest);
  return or_log_limit(x, fma(p.k, all(C::ln2_high), p.f - (p.square - (p.curve + low))));
}

template <class T>
TG_INLINE Vec<T> log(Vec<T> x) {
  return log_sum(x, all(T(0)));
}

template <class T>
TG_INLINE Vec<T> log1p(Vec<T> x) {
  const Vec<T> one = all(T(1)), u = one + x, x_part = u - one;
  const Vec<T> rest = (one - (u - x_part)) + (x - x_part);  // 1 + x is u + rest (Knuth's sum)
  return select(abs(x) < all(tables<T>::tiny), x, log_sum(u, rest / u));
}

// k (per_k_high + per_k_low) + log(1 + f) (high + low), the large products without rounding.
template <class T>
TG_INLINE Vec<T> log_to_base(Vec<T> x, T high, T low, T per_k_high, T per_k_low) {
  const LogParts<T> p = log_parts(x);
  const Vec<T> head = from_bits(bits_of(p.f - p.square) & Int<T>::set1(tables<T>::high_bits));
  const Vec<T> tail = ((p.f - head) - p.square) + p.curve;
  const Vec<T> k_part = p.k * all(per_k_high), f_part = head * all(high), sum = k_part + f_part;
  const Vec<T> rest = fma(tail + head, all(low), fma(tail, all(high), p.k * all(per_k_low)));
  return or_log_limit(x, sum + (rest + ((k_part - sum) + f_part)));
}

template <class T>
TG_INLINE Vec<T> log2(Vec<T> x) {
  using C = tables<T>;
  return log_to_base(x, C::per_ln2_high, C::per_ln2_low, T(1), T(0));
}
template <class T>
TG_INLINE Vec<T> log10(Vec<T> x) {
  using C = tables<T>;
  return log_to_base(x, C::per_ln10_high, C::per_ln10_low, C::log10_2_high, C::log10_2_low);
}

}  // namespace TG_ISA
}  // namespace tg

// sin and cos of float and double lanes; float is computed in double lanes.
//
// x - n pi / 2 in two parts by the three-part pi / 2 of Cody and Waite as in Sun's fdlibm, for |n|
// < 2^20; lanes beyond that (and infinities) take the C library's Payne-Hanek reduction.
#pragma once
#include "cpu/isa/math_exp.h"

namespace tg {
namespace TG_ISA {

enum class Wave { sine, cosine };

template <Wave W>
TG_INLINE Vec<double> wave(Vec<double> x) {
  using C = tables<double>;
  using V = Vec<double>;
  const V one = all(1.0), half = all(0.5);
  const Nearest<double> n = nearest_of_product(x, 0.63661977236758134);  // 2 / pi
  const V a = fnma(n.value, all(C::half_pi_1), x), b = n.value * all(C::half_pi_2);
  const V difference = a - b, b_part = a - difference;
  const V lost = (a - (difference + b_part)) + (b_part - b);  // Knuth's sum
  const V c = fnma(n.value, all(C::half_pi_3), lost);
  const V r = difference + c, rest = (difference - r) + c;

  const V z = r * r, zr = z * r, zz = half * z, top = one - zz;
  // sin(r + rest) = r + r^3 S(z) + rest (1 - z / 2)
  const V sine = r + fma(zr, polynomial(z, C::sin), rest * top);
  // cos(r + rest) = 1 - z / 2 + z^2 C(z) - r rest
  const V cosine = top + (((one - top) - zz) + fnma(r, rest, z * z * polynomial(z, C::cos)));

  const Int<double> quarter = W == Wave::sine ? n.bits : n.bits + Int<double>::set1(1);
  const Int<double> unit = Int<double>::set1(1);
  const V y = select(equal(quarter & unit, unit), cosine, sine);
  const V turned = from_bits(bits_of(y) ^ shl<62>(quarter & Int<double>::set1(2)));
  const V small = W == Wave::sine ? select(abs(x) < all(C::tiny), x, turned) : turned;
  const Mask<double> far = abs(x) > all(1647000.0);
  if (__builtin_expect(!any(far), 1)) return small;
  double in[V::N], out[V::N];
  x.store(in);
  small.store(out);
  for (int i = 0; i < V::N; ++i)
    if (__builtin_fabs(in[i]) > 1647000.0)
      out[i] = W == Wave::sine ? __builtin_sin(in[i]) : __builtin_cos(in[i]);
  return V::load(out);
}
template <Wave W>
TG_INLINE Vec<float> wave(Vec<float> x) {
  return narrow(wave<W>(widen_low(x)), wave<W>(widen_high(x)));
}

template <class T>
TG_INLINE Vec<T> sin(Vec<T> x) {
  return wave<Wave::sine>(x);
}
template <class T>
TG_INLINE Vec<T> cos(Vec<T> x) {
  return wave<Wave::cosine>(x);
}

}  // namespace TG_ISA
}  // namespace tg

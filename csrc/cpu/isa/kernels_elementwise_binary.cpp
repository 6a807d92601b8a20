// y = f(a, b) of float and double.
#include "cpu/isa/elementwise_float.h"
#include "cpu/isa/math.h"

namespace tg {
namespace TG_ISA {
namespace {

TG_INLINE float fmod_of(float a, float b) { return __builtin_fmodf(a, b); }
TG_INLINE double fmod_of(double a, double b) { return __builtin_fmod(a, b); }
TG_INLINE float floor_of(float a) { return __builtin_floorf(a); }
TG_INLINE double floor_of(double a) { return __builtin_floor(a); }
TG_INLINE float copysign_of(float a, float b) { return __builtin_copysignf(a, b); }
TG_INLINE double copysign_of(double a, double b) { return __builtin_copysign(a, b); }

// Python's sign rule, as NumPy: the remainder has the sign of b, and the quotient is the integer
// that fits it.
template <class T>
T remainder_of(T a, T b) {
  const T rest = fmod_of(a, b);
  if (b == 0) return rest;  // NaN
  if (rest == 0) return copysign_of(T(0), b);
  return (b < 0) != (rest < 0) ? rest + b : rest;
}
template <class T>
T floor_divide_of(T a, T b) {
  if (b == 0) return a / b;
  const T rest = fmod_of(a, b);
  T quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return copysign_of(T(0), a / b);
  const T down = floor_of(quotient);  // the division may have rounded below an integer
  return quotient - down > T(0.5) ? down + 1 : down;
}

// log(e^a + e^b); equal infinities have no difference.
template <class T>
TG_INLINE Vec<T> logaddexp_of(Vec<T> a, Vec<T> b) {
  const Vec<T> apart = max(a, b) + log1p(exp(neg(abs(a - b))));
  return select(a == b, a + all(T(0.69314718055994531)), apart);
}

// clang-format off
#define TG_ROW(name, formula) TG_LANES_ROW(binary, name, formula)
TG_ROW(add, x + y)
TG_ROW(sub, x - y)
TG_ROW(mul, x * y)
TG_ROW(div, x / y)
TG_SCALAR_ROW(binary, floor_divide, floor_divide_of(x, y), floor_divide_of(x, y))
TG_SCALAR_ROW(binary, remainder, remainder_of(x, y), remainder_of(x, y))
TG_SCALAR_ROW(binary, fmod, fmod_of(x, y), fmod_of(x, y))
TG_SCALAR_ROW(binary, pow, __builtin_powf(x, y), __builtin_pow(x, y))
TG_ROW(maximum, larger(x, y))
TG_ROW(minimum, smaller(x, y))
TG_SCALAR_ROW(binary, atan2, __builtin_atan2f(x, y), __builtin_atan2(x, y))
TG_ROW(logaddexp, logaddexp_of(x, y))
TG_ROW(copysign, copysign(x, y))
TG_UNDEFINED_ROW(binary, bitwise_and)
TG_UNDEFINED_ROW(binary, bitwise_or)
TG_UNDEFINED_ROW(binary, bitwise_xor)
TG_UNDEFINED_ROW(binary, left_shift)
TG_UNDEFINED_ROW(binary, right_shift)
#undef TG_ROW
// clang-format on

template <class T>
ElementKernel binary_of(Binary op) {
#define TG_KERNEL(name) binary_##name::kernel<T, 2>(),
  static constexpr ElementKernel table[] = {TG_BINARY_OPS(TG_KERNEL)};
#undef TG_KERNEL
  return table[int(op)];
}

}  // namespace

ElementKernel binary_kernel(Binary op, DType t) {
  switch (t) {
    case DType::f16:
    case DType::bf16:
    case DType::f32: return binary_of<float>(op);
    case DType::f64: return binary_of<double>(op);
    default: return integer_binary_kernel(op, t);
  }
}

}  // namespace TG_ISA
}  // namespace tg

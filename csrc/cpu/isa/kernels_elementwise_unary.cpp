// y = f(x) and gx = g f'(v) of float and double.
#include "cpu/isa/elementwise_float.h"
#include "cpu/isa/math.h"

namespace tg {
namespace TG_ISA {
namespace {

template <class T>
TG_INLINE Vec<T> sign_of(Vec<T> x) {
  const Vec<T> zero = all(T(0)), one = all(T(1));
  const Vec<T> of_positive = select(x > zero, one, select(x == zero, zero, x));  // NaN stays
  return select(x < zero, neg(one), of_positive);
}

// Phi(x), the normal distribution, without cancellation for negative x, and its density.
template <class T>
TG_INLINE Vec<T> normal_distribution(Vec<T> x) {
  return all(T(0.5)) * erfc(x * all(T(-0.70710678118654752)));
}
template <class T>
TG_INLINE Vec<T> normal_density(Vec<T> x) {
  return all(T(0.39894228040143268)) * exp(all(T(-0.5)) * x * x);
}

// s (1 + x (1 - s)) with s = sigmoid(x).
template <class T>
TG_INLINE Vec<T> silu_slope(Vec<T> x) {
  const Vec<T> s = sigmoid(x), one = all(T(1));
  return s * (one + x * (one - s));
}

// clang-format off
#define TG_ROW(name, formula) TG_LANES_ROW(unary, name, formula)
TG_ROW(neg, neg(x))
TG_ROW(abs, abs(x))
TG_ROW(sign, sign_of(x))
TG_ROW(square, x * x)
TG_ROW(reciprocal, all(T(1)) / x)
TG_ROW(sqrt, sqrt(x))
TG_ROW(rsqrt, all(T(1)) / sqrt(x))
TG_ROW(exp, exp(x))
TG_ROW(exp2, exp2(x))
TG_ROW(expm1, expm1(x))
TG_ROW(log, log(x))
TG_ROW(log2, log2(x))
TG_ROW(log10, log10(x))
TG_ROW(log1p, log1p(x))
TG_ROW(sin, sin(x))
TG_ROW(cos, cos(x))
TG_SCALAR_ROW(unary, tan, __builtin_tanf(x), __builtin_tan(x))
TG_SCALAR_ROW(unary, asin, __builtin_asinf(x), __builtin_asin(x))
TG_SCALAR_ROW(unary, acos, __builtin_acosf(x), __builtin_acos(x))
TG_SCALAR_ROW(unary, atan, __builtin_atanf(x), __builtin_atan(x))
TG_SCALAR_ROW(unary, sinh, __builtin_sinhf(x), __builtin_sinh(x))
TG_SCALAR_ROW(unary, cosh, __builtin_coshf(x), __builtin_cosh(x))
TG_ROW(tanh, tanh(x))
TG_SCALAR_ROW(unary, asinh, __builtin_asinhf(x), __builtin_asinh(x))
TG_SCALAR_ROW(unary, acosh, __builtin_acoshf(x), __builtin_acosh(x))
TG_SCALAR_ROW(unary, atanh, __builtin_atanhf(x), __builtin_atanh(x))
TG_ROW(erf, erf(x))
TG_ROW(erfc, erfc(x))
TG_ROW(floor, floor(x))
TG_ROW(ceil, ceil(x))
TG_ROW(trunc, trunc(x))
TG_ROW(round, round(x))
TG_ROW(sigmoid, sigmoid(x))
TG_ROW(relu, select(x <= all(T(0)), all(T(0)), x))
TG_ROW(leaky_relu, select(x > all(T(0)), x, p * x))
TG_ROW(elu, select(x > all(T(0)), x, p * expm1(x)))
TG_ROW(softplus, select(p * x > q, x, log1p(exp(p * x)) / p))
TG_ROW(gelu, x * normal_distribution(x))
TG_ROW(silu, x * sigmoid(x))
TG_ROW(clamp, smaller(larger(x, p), q))
TG_UNDEFINED_ROW(unary, bitwise_not)
#undef TG_ROW

// x is the incoming gradient g, y the saved value: the output of relu, sigmoid and tanh, else the
// input.
#define TG_ROW(name, formula) TG_LANES_ROW(grad, name, formula)
TG_ROW(relu, select(y <= all(T(0)), all(T(0)), x))
TG_ROW(leaky_relu, select(y > all(T(0)), x, x * p))
TG_ROW(elu, select(y > all(T(0)), x, x * p * exp(y)))
TG_ROW(softplus, select(p * y > q, x, x * sigmoid(p * y)))
TG_ROW(gelu, x * (normal_distribution(y) + y * normal_density(y)))
TG_ROW(silu, x * silu_slope(y))
TG_ROW(sigmoid, x * (all(T(1)) - y) * y)
TG_ROW(tanh, x * (all(T(1)) - y * y))
#undef TG_ROW
// clang-format on

template <class T>
ElementKernel unary_of(Unary op) {
#define TG_KERNEL(name) unary_##name::kernel<T, 1>(),
  static constexpr ElementKernel table[] = {TG_UNARY_OPS(TG_KERNEL)};
#undef TG_KERNEL
  return table[int(op)];
}

template <class T>
ElementKernel grad_of(UnaryGrad op) {
#define TG_KERNEL(name) grad_##name::kernel<T, 2>(),
  static constexpr ElementKernel table[] = {TG_UNARY_GRAD_OPS(TG_KERNEL)};
#undef TG_KERNEL
  return table[int(op)];
}

}  // namespace

ElementKernel unary_kernel(Unary op, DType t) {
  switch (t) {
    case DType::f16:
    case DType::bf16:
    case DType::f32: return unary_of<float>(op);
    case DType::f64: return unary_of<double>(op);
    default: return integer_unary_kernel(op, t);
  }
}

ElementKernel unary_grad_kernel(UnaryGrad op, DType t) {
  switch (t) {
    case DType::f16:
    case DType::bf16:
    case DType::f32: return grad_of<float>(op);
    case DType::f64: return grad_of<double>(op);
    default: return nullptr;
  }
}

}  // namespace TG_ISA
}  // namespace tg

// The element-wise op ids, in the order of tilegrad.kernels.contract.
#pragma once

// clang-format off
#define TG_UNARY_OPS(X)                                                                         \
  X(neg) X(abs) X(sign) X(square) X(reciprocal) X(sqrt) X(rsqrt) X(exp) X(exp2) X(expm1)         \
  X(log) X(log2) X(log10) X(log1p) X(sin) X(cos) X(tan) X(asin) X(acos) X(atan) X(sinh)          \
  X(cosh) X(tanh) X(asinh) X(acosh) X(atanh) X(erf) X(erfc) X(floor) X(ceil) X(trunc) X(round)   \
  X(sigmoid) X(relu) X(leaky_relu) X(elu) X(softplus) X(gelu) X(silu) X(clamp) X(bitwise_not)
#define TG_UNARY_BOOL_OPS(X) X(isnan) X(isinf) X(isfinite) X(logical_not) X(signbit)
#define TG_UNARY_GRAD_OPS(X)                                                                    \
  X(relu) X(leaky_relu) X(elu) X(softplus) X(gelu) X(silu) X(sigmoid) X(tanh)
#define TG_BINARY_OPS(X)                                                                        \
  X(add) X(sub) X(mul) X(div) X(floor_divide) X(remainder) X(fmod) X(pow) X(maximum)             \
  X(minimum) X(atan2) X(logaddexp) X(copysign) X(bitwise_and) X(bitwise_or) X(bitwise_xor)       \
  X(left_shift) X(right_shift)
#define TG_COMPARE_OPS(X)                                                                       \
  X(eq) X(ne) X(lt) X(le) X(gt) X(ge) X(logical_and) X(logical_or) X(logical_xor)
// clang-format on

namespace tg {

#define TG_NAME(op) op,
enum class Unary { TG_UNARY_OPS(TG_NAME) };
enum class UnaryBool { TG_UNARY_BOOL_OPS(TG_NAME) };
enum class UnaryGrad { TG_UNARY_GRAD_OPS(TG_NAME) };
enum class Binary { TG_BINARY_OPS(TG_NAME) };
enum class Compare { TG_COMPARE_OPS(TG_NAME) };
#undef TG_NAME

}  // namespace tg

// Conversion of values between types. Plain loops, which the compiler vectorises. The half types
// come and go as float; see kernels_elementwise.cpp.
#include "cpu/isa/elementwise_lookup.h"

namespace tg {
namespace TG_ISA {
namespace {

template <class T>
constexpr bool is_real = T(0.5) != T(0);

// Towards zero; NaN and what is out of range give the smallest integer, as x86 does for signed
// ones.
template <class To, class From>
TG_INLINE To to_integer(From x) {
  constexpr bool has_sign = To(-1) < To(0);
  constexpr int bits = 8 * int(sizeof(To)) - has_sign;
  constexpr From above = From(2) * From(uint64_t(1) << (bits - 1));
  constexpr To lowest = has_sign ? To(uint64_t(1) << (bits & 63)) : To(0);
  return x < above && x >= (has_sign ? -above : From(0)) ? To(x) : lowest;
}

template <class From, class To>
void cast_loop(char* out, const char* const* in, int64_t n, double, double) {
  To* const y = (To*)out;
  const From* const a = (const From*)in[0];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    if constexpr (is_real<From> && !is_real<To>)
      y[i] = to_integer<To>(a[i]);
    else
      y[i] = To(a[i]);
  }
}
template <class From>
void to_bool_loop(char* out, const char* const* in, int64_t n, double, double) {
  const From* const a = (const From*)in[0];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] != 0;
}
template <class To>
void from_bool_loop(char* out, const char* const* in, int64_t n, double, double) {
  To* const y = (To*)out;
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = To(in[0][i] != 0);
}

// On the way from double to half: rounded to odd, so that rounding twice is rounding once (Boldo
// and Melquiond, 2008).
void double_to_odd_float_loop(char* out, const char* const* in, int64_t n, double, double) {
  float* const y = (float*)out;
  const double* const a = (const double*)in[0];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const float nearest = float(a[i]);
    const double back = nearest, size = a[i] < 0 ? -a[i] : a[i],
                 back_size = back < 0 ? -back : back;
    uint32_t bits;
    __builtin_memcpy(&bits, &nearest, 4);
    const uint32_t towards_zero = bits - (back_size > size);
    const uint32_t odd = back == a[i] || a[i] != a[i] ? bits : towards_zero | 1;
    __builtin_memcpy(&y[i], &odd, 4);
  }
}

// Between integers only the sign of From matters: To is unsigned.
template <class From>
ElementKernel integer_cast(DType to) {
  switch (to) {
    case DType::b1: return to_bool_loop<From>;
    case DType::u8:
    case DType::i8: return cast_loop<From, uint8_t>;
    case DType::u16:
    case DType::i16: return cast_loop<From, uint16_t>;
    case DType::u32:
    case DType::i32: return cast_loop<From, uint32_t>;
    case DType::u64:
    case DType::i64: return cast_loop<From, uint64_t>;
    case DType::f16:
    case DType::bf16:
    case DType::f32: return cast_loop<From, float>;
    case DType::f64: return cast_loop<From, double>;
  }
  return nullptr;
}
ElementKernel bool_cast(DType to) {
  switch (to) {
    case DType::b1:
    case DType::u8:
    case DType::i8: return from_bool_loop<uint8_t>;
    case DType::u16:
    case DType::i16: return from_bool_loop<uint16_t>;
    case DType::u32:
    case DType::i32: return from_bool_loop<uint32_t>;
    case DType::u64:
    case DType::i64: return from_bool_loop<uint64_t>;
    case DType::f16:
    case DType::bf16:
    case DType::f32: return from_bool_loop<float>;
    case DType::f64: return from_bool_loop<double>;
  }
  return nullptr;
}
template <class From>
ElementKernel float_cast(DType to) {
  switch (to) {
    case DType::b1: return to_bool_loop<From>;
    case DType::u8: return cast_loop<From, uint8_t>;
    case DType::i8: return cast_loop<From, int8_t>;
    case DType::u16: return cast_loop<From, uint16_t>;
    case DType::i16: return cast_loop<From, int16_t>;
    case DType::u32: return cast_loop<From, uint32_t>;
    case DType::i32: return cast_loop<From, int32_t>;
    case DType::u64: return cast_loop<From, uint64_t>;
    case DType::i64: return cast_loop<From, int64_t>;
    case DType::f16: return sizeof(From) == 8 ? double_to_odd_float_loop : cast_loop<From, float>;
    case DType::bf16:
    case DType::f32: return cast_loop<From, float>;
    case DType::f64: return cast_loop<From, double>;
  }
  return nullptr;
}

}  // namespace

ElementKernel cast_kernel(DType from, DType to) {
  switch (from) {
    case DType::b1: return bool_cast(to);
    case DType::u8: return integer_cast<uint8_t>(to);
    case DType::i8: return integer_cast<int8_t>(to);
    case DType::u16: return integer_cast<uint16_t>(to);
    case DType::i16: return integer_cast<int16_t>(to);
    case DType::u32: return integer_cast<uint32_t>(to);
    case DType::i32: return integer_cast<int32_t>(to);
    case DType::u64: return integer_cast<uint64_t>(to);
    case DType::i64: return integer_cast<int64_t>(to);
    case DType::f16:
    case DType::bf16:
    case DType::f32: return float_cast<float>(to);
    case DType::f64: return float_cast<double>(to);
  }
  return nullptr;
}

}  // namespace TG_ISA
}  // namespace tg

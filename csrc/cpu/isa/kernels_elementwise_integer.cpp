// Integers and bool. Arithmetic wraps: it is done in unsigned words, at least 32 bits wide so that
// nothing is promoted to a signed int on the way. Plain loops, which the compiler vectorises.
#include "cpu/isa/elementwise_lookup.h"

namespace tg {
namespace TG_ISA {
namespace {

template <class T>
struct word {
  using type = uint32_t;
};
template <>
struct word<int64_t> {
  using type = uint64_t;
};
template <>
struct word<uint64_t> {
  using type = uint64_t;
};
template <class T>
using word_t = typename word<T>::type;

template <class T>
constexpr bool is_signed = T(-1) < T(0);
template <class T>
constexpr int bit_count = 8 * int(sizeof(T));
template <class T>
constexpr T lowest = is_signed<T> ? T(word_t<T>(1) << (bit_count<T> - 1)) : T(0);
template <class T>
constexpr T highest = T(~lowest<T>);

template <class T, class F>
void unary_loop(char* out, const char* const* in, int64_t n, double, double) {
  T* const y = (T*)out;
  const T* const a = (const T*)in[0];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = F::template apply<T>(a[i]);
}
template <class T, class F>
void binary_loop(char* out, const char* const* in, int64_t n, double, double) {
  T* const y = (T*)out;
  const T* const a = (const T*)in[0];
  const T* const b = (const T*)in[1];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = F::template apply<T>(a[i], b[i]);
}

// The bounds are real numbers: as integers inside T's range they select the same values.
template <class T>
void clamp_loop(char* out, const char* const* in, int64_t n, double p0, double p1) {
  T* const y = (T*)out;
  const T* const a = (const T*)in[0];
  const double low_p = __builtin_ceil(p0), high_p = __builtin_floor(p1);
  const double above = 2.0 * double(word_t<T>(1) << (bit_count<T> - 1 - is_signed<T>));
  const auto inside = [&](double p) {
    return p <= double(lowest<T>) ? lowest<T> : p >= above ? highest<T> : T(p);
  };
  const T low = inside(low_p), high = inside(high_p);
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const T x = a[i] < low ? low : a[i];
    y[i] = x > high ? high : x;
  }
}

// A row: the value of `formula` for x (and y) of type T, W being its word.
#define TG_UNARY_ROW(name, formula)         \
  struct unary_##name {                     \
    template <class T>                      \
    static TG_INLINE T apply(T x) {         \
      using W [[maybe_unused]] = word_t<T>; \
      return T(formula);                    \
    }                                       \
  };
#define TG_BINARY_ROW(name, formula)        \
  struct binary_##name {                    \
    template <class T>                      \
    static TG_INLINE T apply(T x, T y) {    \
      using W [[maybe_unused]] = word_t<T>; \
      return T(formula);                    \
    }                                       \
  };

TG_UNARY_ROW(neg, W(0) - W(x))
TG_UNARY_ROW(abs, x < 0 ? W(0) - W(x) : W(x))
TG_UNARY_ROW(sign, int(x > 0) - int(x < 0))
TG_UNARY_ROW(square, W(x) * W(x))
TG_UNARY_ROW(same, x)
TG_UNARY_ROW(relu, x < 0 ? T(0) : x)
TG_UNARY_ROW(bitwise_not, ~W(x))

// Division by zero has been refused by the entry; here it merely must not trap.
template <class T>
TG_INLINE bool divides(T x, T y) {
  return y != 0 && !(is_signed<T> && y == T(-1) && x == lowest<T>);
}
template <class T>
T quotient(T x, T y) {  // rounded towards zero; lowest / -1 wraps
  if (divides(x, y)) return T(x / y);
  return y == 0 ? T(0) : x;
}
template <class T>
T rest(T x, T y) {  // has the sign of x
  return divides(x, y) ? T(x % y) : T(0);
}
template <class T>
T floor_quotient(T x, T y) {
  const T r = rest(x, y), q = quotient(x, y);
  return r != 0 && (r < 0) != (y < 0) ? T(q - 1) : q;
}
template <class T>
T floor_rest(T x, T y) {
  const T r = rest(x, y);
  return r != 0 && (r < 0) != (y < 0) ? T(r + y) : r;
}
// By squaring; a negative power has been refused by the entry, here it gives 1.
template <class T>
T power(T x, T y) {
  using W = word_t<T>;
  W result = 1, square = W(x);
  for (T left = y; left > 0; left = T(left >> 1)) {
    if (left & 1) result *= square;
    square *= square;
  }
  return T(result);
}
template <class T>
void power_loop(char* out, const char* const* in, int64_t n, double, double) {
  for (int64_t i = 0; i < n; ++i) ((T*)out)[i] = power(((const T*)in[0])[i], ((const T*)in[1])[i]);
}

// Shifts by the width or more, or by a negative count, push every bit out.
template <class T>
TG_INLINE bool in_width(T count) {
  return word_t<T>(count) < word_t<T>(bit_count<T>);
}

TG_BINARY_ROW(add, W(x) + W(y))
TG_BINARY_ROW(sub, W(x) - W(y))
TG_BINARY_ROW(mul, W(x) * W(y))
TG_BINARY_ROW(floor_divide, floor_quotient(x, y))
TG_BINARY_ROW(remainder, floor_rest(x, y))
TG_BINARY_ROW(fmod, rest(x, y))
TG_BINARY_ROW(maximum, x > y ? x : y)
TG_BINARY_ROW(minimum, x < y ? x : y)
TG_BINARY_ROW(bitwise_and, W(x) & W(y))
TG_BINARY_ROW(bitwise_or, W(x) | W(y))
TG_BINARY_ROW(bitwise_xor, W(x) ^ W(y))
TG_BINARY_ROW(left_shift, in_width(y) ? W(x) << (W(y) % bit_count<W>) : W(0))
TG_BINARY_ROW(right_shift, in_width(y) ? T(x >> (W(y) % bit_count<T>)) : T(x < 0 ? -1 : 0))

// A bool is a byte that counts as true when it is not zero; results are 0 or 1.
TG_BINARY_ROW(either, (x != 0) | (y != 0))
TG_BINARY_ROW(both, (x != 0) & (y != 0))
TG_BINARY_ROW(one_of, (x != 0) ^ (y != 0))
TG_UNARY_ROW(logical_not, x == 0)

template <class T>
ElementKernel unary_of(Unary op) {
  switch (op) {
    case Unary::neg: return unary_loop<T, unary_neg>;
    case Unary::abs: return unary_loop<T, unary_abs>;
    case Unary::sign: return unary_loop<T, unary_sign>;
    case Unary::square: return unary_loop<T, unary_square>;
    case Unary::floor:
    case Unary::ceil:
    case Unary::trunc:
    case Unary::round: return unary_loop<T, unary_same>;
    case Unary::relu: return unary_loop<T, unary_relu>;
    case Unary::clamp: return clamp_loop<T>;
    case Unary::bitwise_not: return unary_loop<T, unary_bitwise_not>;
    default: return nullptr;
  }
}

// U is the unsigned type as wide as T, for what does not depend on the sign.
template <class T, class U>
ElementKernel binary_of(Binary op) {
  switch (op) {
    case Binary::add: return binary_loop<U, binary_add>;
    case Binary::sub: return binary_loop<U, binary_sub>;
    case Binary::mul: return binary_loop<U, binary_mul>;
    case Binary::floor_divide: return binary_loop<T, binary_floor_divide>;
    case Binary::remainder: return binary_loop<T, binary_remainder>;
    case Binary::fmod: return binary_loop<T, binary_fmod>;
    case Binary::pow: return power_loop<T>;
    case Binary::maximum: return binary_loop<T, binary_maximum>;
    case Binary::minimum: return binary_loop<T, binary_minimum>;
    case Binary::bitwise_and: return binary_loop<U, binary_bitwise_and>;
    case Binary::bitwise_or: return binary_loop<U, binary_bitwise_or>;
    case Binary::bitwise_xor: return binary_loop<U, binary_bitwise_xor>;
    case Binary::left_shift: return binary_loop<U, binary_left_shift>;
    case Binary::right_shift: return binary_loop<T, binary_right_shift>;
    default: return nullptr;
  }
}

ElementKernel binary_of_bools(Binary op) {
  switch (op) {
    case Binary::add:
    case Binary::maximum:
    case Binary::bitwise_or: return binary_loop<uint8_t, binary_either>;
    case Binary::mul:
    case Binary::minimum:
    case Binary::bitwise_and: return binary_loop<uint8_t, binary_both>;
    case Binary::bitwise_xor: return binary_loop<uint8_t, binary_one_of>;
    default: return nullptr;
  }
}

}  // namespace

ElementKernel integer_unary_kernel(Unary op, DType t) {
  switch (t) {
    case DType::b1:
      return op == Unary::bitwise_not ? unary_loop<uint8_t, unary_logical_not> : nullptr;
    case DType::u8: return unary_of<uint8_t>(op);
    case DType::i8: return unary_of<int8_t>(op);
    case DType::u16: return unary_of<uint16_t>(op);
    case DType::i16: return unary_of<int16_t>(op);
    case DType::u32: return unary_of<uint32_t>(op);
    case DType::i32: return unary_of<int32_t>(op);
    case DType::u64: return unary_of<uint64_t>(op);
    case DType::i64: return unary_of<int64_t>(op);
    default: return nullptr;
  }
}

ElementKernel integer_binary_kernel(Binary op, DType t) {
  switch (t) {
    case DType::b1: return binary_of_bools(op);
    case DType::u8: return binary_of<uint8_t, uint8_t>(op);
    case DType::i8: return binary_of<int8_t, uint8_t>(op);
    case DType::u16: return binary_of<uint16_t, uint16_t>(op);
    case DType::i16: return binary_of<int16_t, uint16_t>(op);
    case DType::u32: return binary_of<uint32_t, uint32_t>(op);
    case DType::i32: return binary_of<int32_t, uint32_t>(op);
    case DType::u64: return binary_of<uint64_t, uint64_t>(op);
    case DType::i64: return binary_of<int64_t, uint64_t>(op);
    default: return nullptr;
  }
}

}  // namespace TG_ISA
}  // namespace tg

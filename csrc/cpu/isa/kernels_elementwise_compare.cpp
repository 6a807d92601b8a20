// Truth values: comparisons, tests of one value, and the choice between two. Plain loops, which the
// compiler vectorises. A bool operand counts as true when its byte is not zero.
#include "cpu/isa/elementwise_lookup.h"

namespace tg {
namespace TG_ISA {
namespace {

#define TG_COMPARE_ROW(name, formula)       \
  struct compare_##name {                   \
    template <class T>                      \
    static TG_INLINE bool apply(T x, T y) { \
      return formula;                       \
    }                                       \
  };
TG_COMPARE_ROW(eq, x == y)
TG_COMPARE_ROW(ne, x != y)
TG_COMPARE_ROW(lt, x < y)
TG_COMPARE_ROW(le, x <= y)
TG_COMPARE_ROW(logical_and, (x != 0) & (y != 0))
TG_COMPARE_ROW(logical_or, (x != 0) | (y != 0))
TG_COMPARE_ROW(logical_xor, (x != 0) ^ (y != 0))
// Of bools, whatever their bytes.
TG_COMPARE_ROW(same_truth, (x != 0) == (y != 0))
TG_COMPARE_ROW(only_second, (x == 0) & (y != 0))
TG_COMPARE_ROW(not_only_first, (x == 0) | (y != 0))

template <class T, class F>
void compare_loop(char* out, const char* const* in, int64_t n, double, double) {
  uint8_t* const y = (uint8_t*)out;
  const T* const a = (const T*)in[0];
  const T* const b = (const T*)in[1];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = F::template apply<T>(a[i], b[i]);
}
// a > b is b < a.
template <class T, class F>
void swapped_loop(char* out, const char* const* in, int64_t n, double, double) {
  const char* const swapped[] = {in[1], in[0]};
  compare_loop<T, F>(out, swapped, n, 0, 0);
}

// U is the unsigned type as wide as an integer T, for what does not depend on the sign.
template <class T, class U>
ElementKernel compare_of(Compare op) {
  switch (op) {
    case Compare::eq: return compare_loop<U, compare_eq>;
    case Compare::ne: return compare_loop<U, compare_ne>;
    case Compare::lt: return compare_loop<T, compare_lt>;
    case Compare::le: return compare_loop<T, compare_le>;
    case Compare::gt: return swapped_loop<T, compare_lt>;
    case Compare::ge: return swapped_loop<T, compare_le>;
    case Compare::logical_and: return compare_loop<U, compare_logical_and>;
    case Compare::logical_or: return compare_loop<U, compare_logical_or>;
    case Compare::logical_xor: return compare_loop<U, compare_logical_xor>;
  }
  return nullptr;
}
ElementKernel compare_of_bools(Compare op) {
  switch (op) {
    case Compare::eq: return compare_loop<uint8_t, compare_same_truth>;
    case Compare::ne: return compare_loop<uint8_t, compare_logical_xor>;
    case Compare::lt: return compare_loop<uint8_t, compare_only_second>;
    case Compare::le: return compare_loop<uint8_t, compare_not_only_first>;
    case Compare::gt: return swapped_loop<uint8_t, compare_only_second>;
    case Compare::ge: return swapped_loop<uint8_t, compare_not_only_first>;
    default: return compare_of<uint8_t, uint8_t>(op);
  }
}

// What a value is, by its bits: the floating-point mode has no say. Integers W of the width of T.
template <class T>
TG_INLINE lane_bits_t<T> magnitude(lane_bits_t<T> bits) {
  return bits & ~(lane_bits_t<T>(1) << (8 * sizeof(T) - 1));
}
template <class T>
constexpr lane_bits_t<T> infinity_bits =
    sizeof(T) == 4 ? lane_bits_t<T>(0x7f800000) : lane_bits_t<T>(0x7ff0000000000000);

#define TG_TEST_ROW(name, formula)                        \
  struct test_##name {                                    \
    template <class T>                                    \
    static TG_INLINE bool apply(lane_bits_t<T> bits) {    \
      const lane_bits_t<T> infinite = infinity_bits<T>;   \
      [[maybe_unused]] const auto a = magnitude<T>(bits); \
      return formula;                                     \
    }                                                     \
  };
TG_TEST_ROW(isnan, a > infinite)
TG_TEST_ROW(isinf, a == infinite)
TG_TEST_ROW(isfinite, a < infinite)
TG_TEST_ROW(logical_not, a == 0 && infinite != 0)
TG_TEST_ROW(signbit, bits != a && infinite != 0)

template <class T, class F>
void test_loop(char* out, const char* const* in, int64_t n, double, double) {
  uint8_t* const y = (uint8_t*)out;
  const lane_bits_t<T>* const a = (const lane_bits_t<T>*)in[0];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) y[i] = F::template apply<T>(a[i]);
}
template <class T>
ElementKernel test_of(UnaryBool op) {
#define TG_KERNEL(name) test_loop<T, test_##name>,
  static constexpr ElementKernel table[] = {TG_UNARY_BOOL_OPS(TG_KERNEL)};
#undef TG_KERNEL
  return table[int(op)];
}

template <bool Value>
void constant_loop(char* out, const char* const*, int64_t n, double, double) {
  __builtin_memset(out, Value, n);
}
template <class T>
void is_zero_loop(char* out, const char* const* in, int64_t n, double, double) {
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = ((const T*)in[0])[i] == 0;
}
template <class T>
void is_negative_loop(char* out, const char* const* in, int64_t n, double, double) {
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) out[i] = ((const T*)in[0])[i] < 0;
}
template <class T>
ElementKernel integer_test_of(UnaryBool op) {
  switch (op) {
    case UnaryBool::isfinite: return constant_loop<true>;
    case UnaryBool::logical_not: return is_zero_loop<T>;
    case UnaryBool::signbit: return T(-1) < T(0) ? is_negative_loop<T> : constant_loop<false>;
    default: return constant_loop<false>;
  }
}

template <class T>
void where_loop(char* out, const char* const* in, int64_t n, double, double) {
  T* const y = (T*)out;
  const uint8_t* const c = (const uint8_t*)in[0];
  const T* const a = (const T*)in[1];
  const T* const b = (const T*)in[2];
  TG_INDEPENDENT
  for (int64_t i = 0; i < n; ++i) {
    const T u = a[i], v = b[i];
    y[i] = c[i] != 0 ? u : v;
  }
}

}  // namespace

ElementKernel compare_kernel(Compare op, DType t) {
  switch (t) {
    case DType::b1: return compare_of_bools(op);
    case DType::u8: return compare_of<uint8_t, uint8_t>(op);
    case DType::i8: return compare_of<int8_t, uint8_t>(op);
    case DType::u16: return compare_of<uint16_t, uint16_t>(op);
    case DType::i16: return compare_of<int16_t, uint16_t>(op);
    case DType::u32: return compare_of<uint32_t, uint32_t>(op);
    case DType::i32: return compare_of<int32_t, uint32_t>(op);
    case DType::u64: return compare_of<uint64_t, uint64_t>(op);
    case DType::i64: return compare_of<int64_t, uint64_t>(op);
    case DType::f16:
    case DType::bf16:
    case DType::f32: return compare_of<float, float>(op);
    case DType::f64: return compare_of<double, double>(op);
  }
  return nullptr;
}

ElementKernel unary_bool_kernel(UnaryBool op, DType t) {
  switch (t) {
    case DType::b1:
    case DType::u8: return integer_test_of<uint8_t>(op);
    case DType::i8: return integer_test_of<int8_t>(op);
    case DType::u16: return integer_test_of<uint16_t>(op);
    case DType::i16: return integer_test_of<int16_t>(op);
    case DType::u32: return integer_test_of<uint32_t>(op);
    case DType::i32: return integer_test_of<int32_t>(op);
    case DType::u64: return integer_test_of<uint64_t>(op);
    case DType::i64: return integer_test_of<int64_t>(op);
    case DType::f16:
    case DType::bf16:
    case DType::f32: return test_of<float>(op);
    case DType::f64: return test_of<double>(op);
  }
  return nullptr;
}

ElementKernel where_kernel(int itemsize) {
  switch (itemsize) {
    case 1: return where_loop<uint8_t>;
    case 2: return where_loop<uint16_t>;
    case 4: return where_loop<uint32_t>;
    default: return where_loop<uint64_t>;
  }
}

}  // namespace TG_ISA
}  // namespace tg

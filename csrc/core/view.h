// Non-owning view of an array, and the element types. Knows neither Python nor NumPy.
#pragma once
#include <cstdint>
#include <cstring>

namespace tg {

constexpr int kMaxDims = 16;

enum class DType : uint8_t { b1, u8, i8, u16, i16, u32, i32, u64, i64, f16, bf16, f32, f64 };
constexpr int kNumDTypes = 13;

inline int itemsize(DType t) {
  constexpr int sizes[kNumDTypes] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
  return sizes[static_cast<int>(t)];
}
inline const char* dtype_name(DType t) {
  constexpr const char* names[kNumDTypes] = {"bool",     "uint8",   "int8",   "uint16", "int16",
                                             "uint32",   "int32",   "uint64", "int64",  "float16",
                                             "bfloat16", "float32", "float64"};
  return names[static_cast<int>(t)];
}
inline bool is_float(DType t) { return t >= DType::f16; }
inline bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }
inline bool is_integer(DType t) { return t > DType::b1 && t < DType::f16; }

struct View {
  char* data = nullptr;
  DType dtype = DType::f32;
  int ndim = 0;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxDims];  // in bytes, any sign

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }
  bool row_major() const {  // axes of length 1 have no say
    int64_t expected = itemsize(dtype);
    for (int i = ndim - 1; i >= 0; --i) {
      if (shape[i] == 0) return true;
      if (shape[i] != 1 && strides[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }
  template <class T>
  T* ptr() const {
    return reinterpret_cast<T*>(data);
  }
};

// float16 and bfloat16 are storage: arithmetic happens in float.
struct half {
  uint16_t bits;
};
struct bfloat16 {
  uint16_t bits;
};

// Inlined without exception: code compiled per instruction set uses these, and of a copy that is
// not inlined the linker may keep the one that needs the newest CPU.
#define TG_ALWAYS_INLINE inline __attribute__((always_inline))

TG_ALWAYS_INLINE float bits_to_float(uint32_t u) {
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
TG_ALWAYS_INLINE uint32_t float_to_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  return u;
}

TG_ALWAYS_INLINE float to_float(bfloat16 h) { return bits_to_float(uint32_t(h.bits) << 16); }
TG_ALWAYS_INLINE float to_float(half h) {
  const uint32_t sign = uint32_t(h.bits & 0x8000) << 16, exponent = (h.bits >> 10) & 31;
  const uint32_t mantissa = h.bits & 1023;
  if (exponent == 31) return bits_to_float(sign | 0x7f800000 | mantissa << 13);
  if (exponent != 0) return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
  // Subnormal: the value is mantissa * 2^-24, exact in float.
  const float magnitude = float(mantissa) * 5.9604644775390625e-08f;
  return sign ? -magnitude : magnitude;
}

// Round to nearest even, NaN stays NaN.
TG_ALWAYS_INLINE bfloat16 to_bfloat16(float f) {
  const uint32_t u = float_to_bits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return {uint16_t(u >> 16 | 0x40)};
  return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
TG_ALWAYS_INLINE half to_half(float f) {
  const uint32_t u = float_to_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000) return {uint16_t(sign | 0x7e00 | (a >> 13 & 0x3ff))};
  if (a >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // 65520 and above round to infinity
  if (a < 0x38800000) {                                   // subnormal half: units of 2^-24
    if (a < 0x33000000) return {uint16_t(sign)};
    const int shift = 126 - int(a >> 23);  // 14 .. 24
    const uint32_t m = (a & 0x7fffff) | 0x800000, rest = m & ((1u << shift) - 1);
    uint32_t q = m >> shift;
    const uint32_t middle = 1u << (shift - 1);
    if (rest > middle || (rest == middle && (q & 1))) ++q;
    return {uint16_t(sign | q)};
  }
  return {uint16_t(sign | ((a + 0xfff + (a >> 13 & 1)) - 0x38000000) >> 13)};
}

// The type arithmetic is done in, and conversions between it and storage.
template <class T>
struct compute {
  using type = T;
  static TG_ALWAYS_INLINE T load(T x) { return x; }
  static TG_ALWAYS_INLINE T store(T x) { return x; }
};
template <>
struct compute<half> {
  using type = float;
  static TG_ALWAYS_INLINE float load(half x) { return to_float(x); }
  static TG_ALWAYS_INLINE half store(float x) { return to_half(x); }
};
template <>
struct compute<bfloat16> {
  using type = float;
  static TG_ALWAYS_INLINE float load(bfloat16 x) { return to_float(x); }
  static TG_ALWAYS_INLINE bfloat16 store(float x) { return to_bfloat16(x); }
};
template <class T>
using compute_t = typename compute<T>::type;

}  // namespace tg

// From a run-time dtype to a compile-time type, by lambda:
// dispatch_float(op, t, [&](auto tag) { using T = typename decltype(tag)::type; ... }).
#pragma once
#include "core/check.h"
#include "core/view.h"

namespace tg {

template <class T>
struct type_tag {
  using type = T;
};

template <class F>
void dispatch_integer(const char* op, DType t, F&& f) {
  switch (t) {
    case DType::u8: return f(type_tag<uint8_t>{});
    case DType::i8: return f(type_tag<int8_t>{});
    case DType::u16: return f(type_tag<uint16_t>{});
    case DType::i16: return f(type_tag<int16_t>{});
    case DType::u32: return f(type_tag<uint32_t>{});
    case DType::i32: return f(type_tag<int32_t>{});
    case DType::u64: return f(type_tag<uint64_t>{});
    case DType::i64: return f(type_tag<int64_t>{});
    default: fail(ErrorKind::dtype, op, ": expects an integer dtype, got ", dtype_name(t));
  }
}

template <class F>
void dispatch_float(const char* op, DType t, F&& f) {
  switch (t) {
    case DType::f16: return f(type_tag<half>{});
    case DType::bf16: return f(type_tag<bfloat16>{});
    case DType::f32: return f(type_tag<float>{});
    case DType::f64: return f(type_tag<double>{});
    default: fail(ErrorKind::dtype, op, ": expects a floating dtype, got ", dtype_name(t));
  }
}

template <class F>
void dispatch_all(const char* op, DType t, F&& f) {
  if (t == DType::b1) return f(type_tag<bool>{});
  if (is_float(t)) return dispatch_float(op, t, f);
  dispatch_integer(op, t, f);
}

// For kernels that only move elements: the unsigned type of the same width.
template <class F>
void dispatch_width(DType t, F&& f) {
  switch (itemsize(t)) {
    case 1: return f(type_tag<uint8_t>{});
    case 2: return f(type_tag<uint16_t>{});
    case 4: return f(type_tag<uint32_t>{});
    default: return f(type_tag<uint64_t>{});
  }
}

}  // namespace tg

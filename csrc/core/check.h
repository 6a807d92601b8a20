// Errors: `op: what was expected, what came`. Thrown before anything is written.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

#include "core/view.h"

namespace tg {

// Each kind becomes one class of tilegrad.errors.
enum class ErrorKind { shape, dtype, index, device, value, memory, zero_division, capture };

struct Error : std::runtime_error {
  Error(ErrorKind k, const std::string& message) : std::runtime_error(message), kind(k) {}
  ErrorKind kind;
};

template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream s;
  (s << ... << parts);
  throw Error(kind, s.str());
}

// The message is only built on failure; expensive parts (shape_str) belong in an if around fail.
template <class... Parts>
inline void check(bool ok, ErrorKind kind, const Parts&... parts) {
  if (__builtin_expect(!ok, 0)) fail(kind, parts...);
}

struct Shape {  // prints a shape; costs nothing until it is printed
  const int64_t* dims;
  int ndim;
  friend std::ostream& operator<<(std::ostream& s, const Shape& x) {
    s << '(';
    for (int i = 0; i < x.ndim; ++i) s << (i ? ", " : "") << x.dims[i];
    return s << (x.ndim == 1 ? ",)" : ")");
  }
};
inline Shape shape_of(const View& v) { return {v.shape, v.ndim}; }

// Size in bytes of an array; raises instead of wrapping. An empty array's other sizes must fit too:
// its strides are made of them.
inline int64_t checked_bytes(const char* op, const int64_t* shape, int ndim, int item) {
  int64_t n = item;
  bool empty = false;
  for (int i = 0; i < ndim; ++i) {
    check(shape[i] >= 0, ErrorKind::shape, op, ": negative size ", shape[i], " in output shape ",
          Shape{shape, ndim});
    empty |= shape[i] == 0;
  }
  for (int i = 0; i < ndim; ++i)
    check(shape[i] == 0 || !__builtin_mul_overflow(n, shape[i], &n), ErrorKind::memory, op,
          ": output shape ", Shape{shape, ndim}, " overflows 2^63 bytes");
  return empty ? 0 : n;
}

inline void check_same_dtype(const char* op, const View& a, const char* name_a, const View& b,
                             const char* name_b) {
  check(a.dtype == b.dtype, ErrorKind::dtype, op, ": ", name_b, " has dtype ", dtype_name(b.dtype),
        ", but ", name_a, " has ", dtype_name(a.dtype));
}
inline void check_float(const char* op, const View& x, const char* name) {
  check(is_float(x.dtype), ErrorKind::dtype, op, ": ", name, " must be floating, got ",
        dtype_name(x.dtype));
}

}  // namespace tg

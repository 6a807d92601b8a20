// argmax, argmin, cumsum and cumprod along one axis.
#include "cpu/isa/row_extreme.h"

namespace tg {
namespace TG_ISA {
namespace {

constexpr int kCells = kColumnBytes / 8;  // columns at a time

// n >= 1. Finds the block that holds the extreme, then its place in it.
template <class Op, class T>
void arg_rows(const char* x, int64_t stride, int64_t n, int64_t step, int64_t outs, int64_t* y) {
  using C = compute_t<T>;
  C buffer[kStep];
  for (int64_t o = 0; o < outs; ++o) {
    const char* row = x + o * step;
    C best{};
    int64_t at = 0;
    for (int64_t i = 0; i < n; i += kStep) {
      const int m = int(smaller<int64_t>(kStep, n - i));
      const C top = extreme<Op>(fetch<T>(row + i * stride, stride, m, buffer), m);
      if (i > 0 && !beats<Op>(top, best)) continue;
      best = top;
      at = i;
      if (top != top) break;
    }
    const C* v = fetch<T>(row + at * stride, stride, int(smaller<int64_t>(kStep, n - at)), buffer);
    y[o] = at + find(v, best);
  }
}

template <class Op, class T>
void arg_columns(const char* x, int64_t stride, int64_t n, int64_t step, int64_t outs, int64_t* y) {
  using C = compute_t<T>;
  C buffer[kCells], best[kCells];
  for (int64_t c = 0; c < outs; c += kCells) {
    const int width = int(smaller<int64_t>(kCells, outs - c));
    int64_t* at = y + c;
    for (int64_t r = 0; r < n; ++r) {
      const C* v = fetch<T>(x + c * step + r * stride, step, width, buffer);
      for (int i = 0; i < width; ++i) {
        const bool wins = r == 0 || beats<Op>(v[i], best[i]);
        best[i] = wins ? v[i] : best[i];
        at[i] = wins ? r : at[i];
      }
    }
  }
}

struct Plus {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a + b;
  }
  static constexpr int first = 0;
};
struct Times {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a * b;
  }
  static constexpr int first = 1;
};

// Element and accumulator: floats are summed in double, integers modulo 2^64.
template <class T, class A>
struct Scanned {
  using out = uint64_t;
  static TG_INLINE A enter(T x) { return A(x); }
  static TG_INLINE out leave(A a) { return a; }
};
template <>
struct Scanned<truth, uint64_t> {
  using out = uint64_t;
  static TG_INLINE uint64_t enter(truth x) { return x.byte != 0; }
  static TG_INLINE out leave(uint64_t a) { return a; }
};
template <class T>
struct Scanned<T, double> {
  using out = T;
  static TG_INLINE double enter(T x) { return double(compute<T>::load(x)); }
  static TG_INLINE out leave(double a) { return compute<T>::store(compute_t<T>(a)); }
};

template <class Op, class T, class A>
void scan_rows(const ScanArgs& s) {
  using E = Scanned<T, A>;
  for (int64_t o = 0; o < s.outs; ++o) {
    const char* p = s.x + o * s.x_step;
    char* q = s.y + o * s.y_step;
    A a = Op::first;
    for (int64_t i = 0; i < s.n; ++i) {
      a = Op::join(a, E::enter(read<T>(p + i * s.x_stride)));
      write(q + i * s.y_stride, E::leave(a));
    }
  }
}

template <class Op, class T, class A>
void scan_columns(const ScanArgs& s) {
  using E = Scanned<T, A>;
  using R = typename E::out;
  for (int64_t c = 0; c < s.outs; c += kCells) {
    const int width = int(smaller<int64_t>(kCells, s.outs - c));
    A a[kCells];
    for (int i = 0; i < width; ++i) a[i] = Op::first;
    for (int64_t r = 0; r < s.n; ++r) {
      const char* p = s.x + r * s.x_stride + c * s.x_step;
      char* q = s.y + r * s.y_stride + c * s.y_step;
      if (s.x_step == int64_t(sizeof(T)) && s.y_step == int64_t(sizeof(R)))
        for (int i = 0; i < width; ++i) {
          a[i] = Op::join(a[i], E::enter(read<T>(p + i * int64_t(sizeof(T)))));
          write(q + i * int64_t(sizeof(R)), E::leave(a[i]));
        }
      else
        for (int i = 0; i < width; ++i) {
          a[i] = Op::join(a[i], E::enter(read<T>(p + i * s.x_step)));
          write(q + i * s.y_step, E::leave(a[i]));
        }
    }
  }
}

}  // namespace

#define TG_EVERY(kernel, Op)                                                              \
  {kernel<Op, uint8_t>, kernel<Op, uint8_t>,  kernel<Op, int8_t>,   kernel<Op, uint16_t>, \
   kernel<Op, int16_t>, kernel<Op, uint32_t>, kernel<Op, int32_t>,  kernel<Op, uint64_t>, \
   kernel<Op, int64_t>, kernel<Op, half>,     kernel<Op, bfloat16>, kernel<Op, float>,    \
   kernel<Op, double>}
#define TG_SCANS(kernel, Op)                                                                       \
  {kernel<Op, truth, uint64_t>,    kernel<Op, uint8_t, uint64_t>,  kernel<Op, int8_t, uint64_t>,   \
   kernel<Op, uint16_t, uint64_t>, kernel<Op, int16_t, uint64_t>,  kernel<Op, uint32_t, uint64_t>, \
   kernel<Op, int32_t, uint64_t>,  kernel<Op, uint64_t, uint64_t>, kernel<Op, int64_t, uint64_t>,  \
   kernel<Op, half, double>,       kernel<Op, bfloat16, double>,   kernel<Op, float, double>,      \
   kernel<Op, double, double>}

extern const ArgTable arg_table;
const ArgTable arg_table{{TG_EVERY(arg_rows, Larger), TG_EVERY(arg_rows, Smaller)},
                         {TG_EVERY(arg_columns, Larger), TG_EVERY(arg_columns, Smaller)}};

extern const ScanTable scan_table;
const ScanTable scan_table{{TG_SCANS(scan_rows, Plus), TG_SCANS(scan_rows, Times)},
                           {TG_SCANS(scan_columns, Plus), TG_SCANS(scan_columns, Times)}};

}  // namespace TG_ISA
}  // namespace tg

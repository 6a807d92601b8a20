// Reductions whose result does not depend on the order: integers (arithmetic modulo 2^64), bool,
// and any and all of every dtype.
#include "cpu/isa/row_load.h"

namespace tg {
namespace TG_ISA {
namespace {

constexpr int kCells = kColumnBytes / 8;

struct WholeSum {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a + b;
  }
  template <class A>
  static TG_INLINE A first() {
    return 0;
  }
};
struct WholeProd {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a * b;
  }
  template <class A>
  static TG_INLINE A first() {
    return 1;
  }
};
struct WholeMax {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return b > a ? b : a;
  }
  template <class A>
  static TG_INLINE A first() {  // the lowest value
    return A(-1) < A(0) ? A(uint64_t(1) << (8 * sizeof(A) - 1)) : A(0);
  }
};
struct WholeMin {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return b < a ? b : a;
  }
  template <class A>
  static TG_INLINE A first() {  // the highest value
    return A(~WholeMax::first<A>());
  }
};
struct Any {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a | b;
  }
  template <class A>
  static TG_INLINE A first() {
    return 0;
  }
};
struct All {
  template <class A>
  static TG_INLINE A join(A a, A b) {
    return a & b;
  }
  template <class A>
  static TG_INLINE A first() {
    return 1;
  }
};

// How an element enters its accumulator.
template <class T, class A>
struct Enter {  // sign-extended into 64 bits, or unchanged
  static TG_INLINE A from(T x) { return A(x); }
};
template <class A>
struct Enter<truth, A> {
  static TG_INLINE A from(truth x) { return x.byte != 0; }
};
template <class T>
struct EnterTruth {
  static TG_INLINE uint8_t from(T x) { return x != T(0); }
};
template <>
struct EnterTruth<truth> {
  static TG_INLINE uint8_t from(truth x) { return x.byte != 0; }
};
template <>
struct EnterTruth<half> {
  static TG_INLINE uint8_t from(half x) { return (x.bits & 0x7fff) != 0; }
};
template <>
struct EnterTruth<bfloat16> {
  static TG_INLINE uint8_t from(bfloat16 x) { return (x.bits & 0x7fff) != 0; }
};

template <class Op, class T, class A, class E>
void fold_rows(const Sequence& s, const char* x, int64_t step, int64_t outs, int64_t begin,
               int64_t end, char* y) {
  const int64_t stride = s.stride[0][s.ndim - 1];
  for (int64_t o = 0; o < outs; ++o) {
    A a = Op::template first<A>();
    for_runs(s, x + o * step, begin, end, [&](const char* p, int64_t n) {
      const char* v = p;
      if (stride == int64_t(sizeof(T)))
        for (int64_t i = 0; i < n; ++i)
          a = Op::join(a, E::from(read<T>(v + i * int64_t(sizeof(T)))));
      else
        for (int64_t i = 0; i < n; ++i) a = Op::join(a, E::from(read<T>(v + i * stride)));
    });
    write<A>(y + o * int64_t(sizeof(A)), a);
  }
}

template <class Op, class T, class A, class E>
void fold_columns(const Sequence& s, const char* x, int64_t step, int64_t cols, int64_t begin,
                  int64_t end, char* y) {
  const int64_t stride = s.stride[0][s.ndim - 1];
  for (int64_t c = 0; c < cols; c += kCells) {
    const int width = int(smaller<int64_t>(kCells, cols - c));
    A a[kCells];
    for (int i = 0; i < width; ++i) a[i] = Op::template first<A>();
    for_runs(s, x + c * step, begin, end, [&](const char* p, int64_t n) {
      for (int64_t r = 0; r < n; ++r) {
        const char* v = p + r * stride;
        if (step == int64_t(sizeof(T)))
          for (int i = 0; i < width; ++i)
            a[i] = Op::join(a[i], E::from(read<T>(v + i * int64_t(sizeof(T)))));
        else
          for (int i = 0; i < width; ++i) a[i] = Op::join(a[i], E::from(read<T>(v + i * step)));
      }
    });
    __builtin_memcpy(y + c * int64_t(sizeof(A)), a, sizeof(A) * width);
  }
}

}  // namespace

// Sums and products wrap, so they are formed unsigned: the bits are those of int64.
#define TG_WIDE(kernel, Op, T) kernel<Op, T, uint64_t, Enter<T, uint64_t>>
#define TG_SAME(kernel, Op, T) kernel<Op, T, T, Enter<T, T>>
#define TG_TRUE(kernel, Op, T) kernel<Op, T, uint8_t, EnterTruth<T>>
#define TG_INTEGERS(entry, kernel, Op)                                                     \
  entry(kernel, Op, uint8_t), entry(kernel, Op, int8_t), entry(kernel, Op, uint16_t),      \
      entry(kernel, Op, int16_t), entry(kernel, Op, uint32_t), entry(kernel, Op, int32_t), \
      entry(kernel, Op, uint64_t), entry(kernel, Op, int64_t)
#define TG_FOLDS(kernel)                                                                          \
  {                                                                                               \
    {TG_WIDE(kernel, WholeSum, truth), TG_INTEGERS(TG_WIDE, kernel, WholeSum)},                   \
        {TG_WIDE(kernel, WholeProd, truth), TG_INTEGERS(TG_WIDE, kernel, WholeProd)},             \
        {TG_TRUE(kernel, Any, truth), TG_INTEGERS(TG_SAME, kernel, WholeMax)},                    \
        {TG_TRUE(kernel, All, truth), TG_INTEGERS(TG_SAME, kernel, WholeMin)},                    \
        {TG_TRUE(kernel, Any, truth), TG_INTEGERS(TG_TRUE, kernel, Any),                          \
         TG_TRUE(kernel, Any, half),  TG_TRUE(kernel, Any, bfloat16),                             \
         TG_TRUE(kernel, Any, float), TG_TRUE(kernel, Any, double)},                              \
    {                                                                                             \
      TG_TRUE(kernel, All, truth), TG_INTEGERS(TG_TRUE, kernel, All), TG_TRUE(kernel, All, half), \
          TG_TRUE(kernel, All, bfloat16), TG_TRUE(kernel, All, float),                            \
          TG_TRUE(kernel, All, double)                                                            \
    }                                                                                             \
  }

extern const FoldTable fold_exact;
const FoldTable fold_exact{TG_FOLDS(fold_rows), TG_FOLDS(fold_columns)};

}  // namespace TG_ISA
}  // namespace tg

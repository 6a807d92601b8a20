// The first extreme of a row, where a NaN counts as the extreme.
#pragma once
#include "cpu/isa/row_fold.h"

namespace tg {
namespace TG_ISA {

constexpr int kStep = 1024;  // elements of a row looked at before any is located

struct Larger {
  template <class C>
  static TG_INLINE bool beyond(C a, C b) {
    return a > b;
  }
  using Fold = Max;
};
struct Smaller {
  template <class C>
  static TG_INLINE bool beyond(C a, C b) {
    return a < b;
  }
  using Fold = Min;
};

// b beats a; a NaN beats everything but an earlier one.
template <class Op, class C>
TG_INLINE bool beats(C b, C a) {
  return Op::beyond(b, a) | ((b != b) & (a == a));
}

template <class Op>
TG_INLINE float extreme(const float* v, int n) {
  return fold_lanes<typename Op::Fold>(fold_block<typename Op::Fold>(v, n));
}
template <class Op>
TG_INLINE double extreme(const double* v, int n) {
  return fold_lanes<typename Op::Fold>(fold_block<typename Op::Fold>(v, n));
}
template <class Op, class C>
TG_INLINE C extreme(const C* v, int n) {
  C a = v[0];
  for (int i = 1; i < n; ++i) a = Op::beyond(v[i], a) ? v[i] : a;
  return a;
}

// The place of a value among its equals: the first.
template <class C>
TG_INLINE int find(const C* v, C value) {
  int i = 0;
  while (v[i] != value && !(value != value && v[i] != v[i])) ++i;
  return i;
}

}  // namespace TG_ISA
}  // namespace tg

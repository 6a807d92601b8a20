// Reduction of floating rows and columns by a fixed tree: lanes, then blocks, then pairs of blocks,
// so that the error of a sum grows with log n (pairwise summation: Higham, The accuracy of
// floating point summation, 1993).
#pragma once
#include "cpu/isa/row_load.h"

namespace tg {
namespace TG_ISA {

constexpr int64_t kShort = 16;  // so few elements are folded faster by a plain loop
constexpr int kLevels = 40;     // of a tree: more leaves than 2^40 cannot be counted to

struct Sum {
  template <class C>
  static TG_INLINE C identity() {
    return 0;
  }
  template <class V>
  static TG_INLINE V join(V a, V b) {
    return a + b;
  }
};
struct Prod {
  template <class C>
  static TG_INLINE C identity() {
    return 1;
  }
  template <class V>
  static TG_INLINE V join(V a, V b) {
    return a * b;
  }
};
// A NaN on either side wins.
struct Max {
  template <class C>
  static TG_INLINE C identity() {
    return -C(__builtin_inff());
  }
  template <class C>
  static TG_INLINE Vec<C> join(Vec<C> a, Vec<C> b) {
    return select((b > a) | (b != b), b, a);
  }
  static TG_INLINE float join(float a, float b) { return beyond(a, b); }
  static TG_INLINE double join(double a, double b) { return beyond(a, b); }
  template <class C>
  static TG_INLINE C beyond(C a, C b) {
    const C top = b > a ? b : a;  // one instruction, where a joint condition is a branch
    return b != b ? b : top;
  }
};
struct Min {
  template <class C>
  static TG_INLINE C identity() {
    return C(__builtin_inff());
  }
  template <class C>
  static TG_INLINE Vec<C> join(Vec<C> a, Vec<C> b) {
    return select((b < a) | (b != b), b, a);
  }
  static TG_INLINE float join(float a, float b) { return beyond(a, b); }
  static TG_INLINE double join(double a, double b) { return beyond(a, b); }
  template <class C>
  static TG_INLINE C beyond(C a, C b) {
    const C low = b < a ? b : a;
    return b != b ? b : low;
  }
};

template <class C>
TG_INLINE Mask<C> first_lanes_of(int n) {
  static const C lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return Vec<C>::load(lane) < Vec<C>::set1(C(n));
}

// The first n <= N lanes of p; whole vectors take the plain load.
template <class C>
TG_INLINE Vec<C> load_some(const C* p, int n) {
  return n >= Vec<C>::N ? Vec<C>::load(p) : Vec<C>::load_n(p, n);
}

// The first n lanes of p, the identity in the others.
template <class Op, class C>
TG_INLINE Vec<C> load_first(const C* p, int n) {
  const Vec<C> x = Vec<C>::load_n(p, n);
  if (is_same<Op, Sum>::value) return x;
  return select(first_lanes_of<C>(n), x, Vec<C>::set1(Op::template identity<C>()));
}

template <class Op, class C>
TG_INLINE C fold_lanes(Vec<C> x) {
  if constexpr (is_same<Op, Sum>::value) {
    return hsum(x);
  } else {
    C lane[Vec<C>::N];
    x.store(lane);
    for (int half = Vec<C>::N / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lane[i] = Op::join(lane[i], lane[i + half]);
    return lane[0];
  }
}

// One block: eight chains of vectors, joined as a tree.
template <class Op, class C>
TG_INLINE Vec<C> fold_block(const C* v, int n) {
  constexpr int N = Vec<C>::N;
  Vec<C> a = Vec<C>::set1(Op::template identity<C>());
  int i = 0;
  if (n >= 8 * N) {
    Vec<C> chain[8];
    for (int j = 0; j < 8; ++j) chain[j] = Vec<C>::load(v + j * N);
    for (i = 8 * N; i + 8 * N <= n; i += 8 * N)
      for (int j = 0; j < 8; ++j) chain[j] = Op::join(chain[j], Vec<C>::load(v + i + j * N));
    for (int half = 4; half > 0; half /= 2)
      for (int j = 0; j < half; ++j) chain[j] = Op::join(chain[j], chain[j + half]);
    a = chain[0];
  }
  for (; i + N <= n; i += N) a = Op::join(a, Vec<C>::load(v + i));
  if (i < n) a = Op::join(a, load_first<Op>(v + i, n - i));
  return a;
}

// Joins leaves in pairs, pairs in fours and so on, holding one value per level.
template <class Op, class V>
struct Tree {
  V level[kLevels];
  uint64_t count = 0;

  TG_INLINE void push(V x) {
    int i = 0;
    for (uint64_t c = count++; c & 1; c >>= 1) x = Op::join(level[i++], x);
    level[i] = x;
  }
  TG_INLINE V total(V x) const {  // x: the identity
    for (int i = 0; count >> i; ++i)
      if (count >> i & 1) x = Op::join(level[i], x);
    return x;
  }
};

// Columns: the same tree with a row of results at every level.
template <class C>
constexpr int kColumns = kColumnBytes / int(sizeof(C));

template <class Op, class C>
struct ColumnTree {
  C level[kLevels][kColumns<C>];
  C leaf[kColumns<C>];
  uint64_t count = 0;
  int width;

  explicit TG_INLINE ColumnTree(int w) : width(w) {}

  static TG_INLINE void join_into(const C* a, const C* b, C* out, int n) {
    constexpr int N = Vec<C>::N;
    int i = 0;
    for (; i + N <= n; i += N) Op::join(Vec<C>::load(a + i), Vec<C>::load(b + i)).store(out + i);
    if (i < n)
      Op::join(Vec<C>::load_n(a + i, n - i), Vec<C>::load_n(b + i, n - i)).store_n(out + i, n - i);
  }

  // leaf has been filled.
  TG_INLINE void push() {
    int i = 0;
    for (uint64_t c = count++; c & 1; c >>= 1) join_into(level[i++], leaf, leaf, width);
    __builtin_memcpy(level[i], leaf, sizeof(C) * width);
  }
  TG_INLINE void push(const C* const (&row)[8]) {
    constexpr int N = Vec<C>::N;
    int i = 0;
    const auto joined = [&](auto load) {
      return Op::join(
          Op::join(Op::join(load(row[0]), load(row[1])), Op::join(load(row[2]), load(row[3]))),
          Op::join(Op::join(load(row[4]), load(row[5])), Op::join(load(row[6]), load(row[7]))));
    };
    for (; i + N <= width; i += N)
      joined([i](const C* p) { return Vec<C>::load(p + i); }).store(leaf + i);
    const int n = width - i;
    if (n > 0) joined([i, n](const C* p) { return Vec<C>::load_n(p + i, n); }).store_n(leaf + i, n);
    push();
  }
  TG_INLINE void push_one(const C* row, int n) {
    for (int i = 0; i < n; ++i) leaf[i] = row[i];
    for (int i = n; i < width; ++i) leaf[i] = Op::template identity<C>();
    push();
  }
  TG_INLINE void total(C* out) const {
    for (int i = 0; i < width; ++i) out[i] = Op::template identity<C>();
    for (int i = 0; count >> i; ++i)
      if (count >> i & 1) join_into(level[i], out, out, width);
  }
};

}  // namespace TG_ISA
}  // namespace tg

// Mean and variance in one pass over memory.
//
// Within a block the mean comes first and the squares are taken about it; blocks are joined by
// Chan, Golub and LeVeque's formula (Updating formulae and a pairwise algorithm for computing
// sample variances, 1979).
#include "cpu/isa/row_fold.h"

namespace tg {
namespace TG_ISA {
namespace {

struct Part {
  double n, mean, m2;
};
struct JoinParts {
  static TG_INLINE Part join(Part a, Part b) {
    if (a.n == 0) return b;
    const double n = a.n + b.n, d = b.mean - a.mean;
    return {n, a.mean + d * (b.n / n), a.m2 + b.m2 + d * d * (a.n * b.n / n)};
  }
};

template <class C>
struct Pair {
  Vec<C> a, b;
  friend TG_INLINE Pair operator+(Pair x, Pair y) { return {x.a + y.a, x.b + y.b}; }
};

// sums of d and d * d, d = v - about
template <class C>
TG_INLINE Pair<C> deviations(const C* v, int n, C about) {
  constexpr int N = Vec<C>::N;
  const Vec<C> m = Vec<C>::set1(about), zero = Vec<C>::set1(0);
  Pair<C> chain[4];
  for (auto& c : chain) c = {zero, zero};
  int i = 0;
  for (; i + 4 * N <= n; i += 4 * N)
    for (int j = 0; j < 4; ++j) {
      const Vec<C> d = Vec<C>::load(v + i + j * N) - m;
      chain[j] = {chain[j].a + d, fma(d, d, chain[j].b)};
    }
  for (; i < n; i += N) {
    const int k = smaller(N, n - i);
    const Vec<C> d = select(first_lanes_of<C>(k), load_some(v + i, k) - m, zero);
    chain[0] = {chain[0].a + d, fma(d, d, chain[0].b)};
  }
  return (chain[0] + chain[2]) + (chain[1] + chain[3]);
}

// The moments of one block. The mean is corrected by what its rounding left over.
template <class C>
TG_INLINE Part block_part(const C* v, int n) {
  const C about = hsum(fold_block<Sum>(v, n)) / C(n);
  const Pair<C> d = deviations(v, n, about);
  const double rest = double(hsum(d.a)) / n;
  return {double(n), double(about) + rest, double(hsum(d.b)) - n * rest * rest};
}

// Few elements: two plain passes.
template <class T>
TG_INLINE void short_moments(const char* x, int64_t stride, int64_t n, compute_t<T>* mean,
                             compute_t<T>* m2) {
  using C = compute_t<T>;
  C sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += compute<T>::load(read<T>(x + i * stride));
  sum /= C(n);
  for (int64_t i = 0; i < n; ++i) {
    const C d = compute<T>::load(read<T>(x + i * stride)) - sum;
    squares += d * d;
  }
  *mean = sum;
  *m2 = squares;
}

template <class T>
void moments_rows(const Sequence& s, const char* x, int64_t step, int64_t outs, int64_t begin,
                  int64_t end, char* mean, char* m2) {
  using C = compute_t<T>;
  if (s.ndim == 1 && end - begin <= kShort) {
    for (int64_t o = 0; o < outs; ++o)
      short_moments<T>(x + o * step + begin * s.stride[0][0], s.stride[0][0], end - begin,
                       reinterpret_cast<C*>(mean) + o, reinterpret_cast<C*>(m2) + o);
    return;
  }
  for (int64_t first = 0, some; first < outs; first += some) {
    some = s.ndim == 1 ? 1 : smaller<int64_t>(kSideBySide, outs - first);
    Tree<JoinParts, Part> tree[kSideBySide];
    for_blocks<T>(s, x + first * step, step, int(some), begin, end,
                  [&](int o, const C* v, int n) { tree[o].push(block_part(v, n)); });
    for (int64_t o = 0; o < some; ++o) {
      const Part all = tree[o].total({0, 0, 0});
      reinterpret_cast<C*>(mean)[first + o] = C(all.mean);
      reinterpret_cast<C*>(m2)[first + o] = C(all.m2);
    }
  }
}

// Half as many columns at a time as a sum takes: there are two results.
template <class C>
constexpr int kPairs = kColumns<C> / 2;

template <class C>
struct MomentColumns {
  struct Level {
    double n;
    C mean[kPairs<C>], m2[kPairs<C>];
  };
  Level level[kLevels];
  Level leaf;
  uint64_t count = 0;
  int width;

  // b, the later rows, joins a; the result is left in b.
  static TG_INLINE void join(const Level& a, Level& b, int width) {
    constexpr int N = Vec<C>::N;
    const double n = a.n + b.n;
    const Vec<C> share = Vec<C>::set1(C(b.n / n)), cross = Vec<C>::set1(C(a.n * b.n / n));
    for (int i = 0; i < width; i += N) {  // the buffers are whole vectors long
      const Vec<C> am = Vec<C>::load(a.mean + i);
      const Vec<C> d = Vec<C>::load(b.mean + i) - am;
      fma(d, share, am).store(b.mean + i);
      fma(d * d, cross, Vec<C>::load(a.m2 + i) + Vec<C>::load(b.m2 + i)).store(b.m2 + i);
    }
    b.n = n;
  }
  TG_INLINE void push() {
    int i = 0;
    for (uint64_t c = count++; c & 1; c >>= 1) join(level[i++], leaf, width);
    __builtin_memcpy(&level[i], &leaf, sizeof leaf);
  }
  TG_INLINE void push(const C* const (&row)[8], int rows) {
    constexpr int N = Vec<C>::N;
    leaf.n = rows;
    const Vec<C> share = Vec<C>::set1(C(1) / C(rows)), zero = Vec<C>::set1(0);
    for (int i = 0; i < width; i += N) {
      const int k = smaller(N, width - i);
      Vec<C> sum = zero, rest = zero, squares = zero;
      for (int r = 0; r < rows; ++r) sum = sum + load_some(row[r] + i, k);
      const Vec<C> about = sum * share;
      for (int r = 0; r < rows; ++r) {
        const Vec<C> d = load_some(row[r] + i, k) - about;
        rest = rest + d;
        squares = fma(d, d, squares);
      }
      (about + rest * share).store(leaf.mean + i);
      fnma(rest * rest, share, squares).store(leaf.m2 + i);
    }
    push();
  }
  TG_INLINE void total(C* mean, C* m2) {
    for (int i = 0; i < width; ++i) mean[i] = m2[i] = 0;
    Level* all = nullptr;
    for (int i = 0; count >> i; ++i) {
      if ((count >> i & 1) == 0) continue;
      if (all == nullptr)
        all = &leaf, __builtin_memcpy(&leaf, &level[i], sizeof leaf);
      else
        join(level[i], leaf, width);
    }
    if (all == nullptr) return;
    __builtin_memcpy(mean, all->mean, sizeof(C) * width);
    __builtin_memcpy(m2, all->m2, sizeof(C) * width);
  }
};

template <class T>
void moments_columns(const Sequence& s, const char* x, int64_t step, int64_t cols, int64_t begin,
                     int64_t end, char* mean, char* m2) {
  using C = compute_t<T>;
  for (int64_t c = 0; c < cols; c += kPairs<C>) {
    MomentColumns<C> tree;
    tree.width = int(smaller<int64_t>(kPairs<C>, cols - c));
    C buffer[8][kPairs<C>];
    const C* row[8];
    int rows = 0;
    for_runs(s, x + c * step, begin, end, [&](const char* p, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        row[rows] = fetch<T>(p + i * s.stride[0][s.ndim - 1], step, tree.width, buffer[rows]);
        if (++rows < 8) continue;
        tree.push(row, 8);
        rows = 0;
      }
    });
    if (rows > 0) tree.push(row, rows);
    tree.total(reinterpret_cast<C*>(mean) + c, reinterpret_cast<C*>(m2) + c);
  }
}

// Joins the moments of segments; mean and m2 are [segments][pitch], the result is in row 0, where
// m2 becomes the variance. No element at all: NaN, as 0 / 0.
template <class C>
void moments_join(int64_t segments, int64_t segment, int64_t length, int64_t pitch, int64_t outs,
                  char* mean_bytes, char* m2_bytes) {
  C *mean = reinterpret_cast<C*>(mean_bytes), *m2 = reinterpret_cast<C*>(m2_bytes);
  for (int64_t o = 0; o < outs; ++o) {
    Part all{0, 0, 0};
    for (int64_t s = 0; s < segments; ++s) {
      const double n = double(smaller(segment, length - s * segment));
      all = JoinParts::join(all, {n, double(mean[s * pitch + o]), double(m2[s * pitch + o])});
    }
    mean[o] = length > 0 ? C(all.mean) : C(__builtin_nanf(""));
    m2[o] = C(all.m2 / double(length));
  }
}

}  // namespace

extern const MomentTable moment_table;
const MomentTable moment_table{
    {moments_rows<half>, moments_rows<bfloat16>, moments_rows<float>, moments_rows<double>},
    {moments_columns<half>, moments_columns<bfloat16>, moments_columns<float>,
     moments_columns<double>},
    {moments_join<float>, moments_join<float>, moments_join<float>, moments_join<double>}};

}  // namespace TG_ISA
}  // namespace tg

// sum, prod, max and min of floating dtypes.
#include "cpu/isa/row_fold.h"

namespace tg {
namespace TG_ISA {
namespace {

template <class Op, class T>
void fold_rows(const Sequence& s, const char* x, int64_t step, int64_t outs, int64_t begin,
               int64_t end, char* y) {
  using C = compute_t<T>;
  C* out = reinterpret_cast<C*>(y);
  if (s.ndim == 1 && end - begin <= kShort) {
    const int64_t stride = s.stride[0][0];
    for (int64_t o = 0; o < outs; ++o) {
      C a = Op::template identity<C>();
      for (int64_t i = begin; i < end; ++i)
        a = Op::join(a, compute<T>::load(read<T>(x + o * step + i * stride)));
      out[o] = a;
    }
    return;
  }
  for (int64_t first = 0, some; first < outs; first += some) {
    some = s.ndim == 1 ? 1 : smaller<int64_t>(kSideBySide, outs - first);
    Tree<Op, Vec<C>> tree[kSideBySide];
    for_blocks<T>(s, x + first * step, step, int(some), begin, end,
                  [&](int o, const C* v, int n) { tree[o].push(fold_block<Op>(v, n)); });
    for (int64_t o = 0; o < some; ++o)
      out[first + o] = fold_lanes<Op>(tree[o].total(Vec<C>::set1(Op::template identity<C>())));
  }
}

// Feeds rows to the tree in groups of eight.
template <class Op, class T>
struct RowFeed {
  using C = compute_t<T>;
  ColumnTree<Op, C>& tree;
  const C* row[8];
  int rows = 0;
  C buffer[8][kColumns<C>];

  TG_INLINE void add(const char* p, int64_t step) {
    row[rows] = fetch<T>(p, step, tree.width, buffer[rows]);
    if (++rows < 8) return;
    tree.push(row);
    rows = 0;
  }
  TG_INLINE void rest() {
    for (int i = 0; i < rows; ++i) tree.push_one(row[i], tree.width);
    rows = 0;
  }
};

// Rows of few columns that follow each other in memory: as many as fill a block are one wide row,
// whose columns are joined at the end.
template <class Op, class T>
void fold_narrow_columns(const Sequence& s, const char* x, int cols, int64_t begin, int64_t end,
                         compute_t<T>* y) {
  using C = compute_t<T>;
  int k = kColumns<C> / cols;
  const int64_t wide_rows = k;
  ColumnTree<Op, C> tree(k * cols);
  RowFeed<Op, T> feed{tree};
  for_runs(s, x, begin, end, [&](const char* p, int64_t n) {
    const char* row = p;
    for (; n >= wide_rows; n -= wide_rows) {
      feed.add(row, sizeof(T));
      row += wide_rows * cols * int64_t(sizeof(T));
    }
    if (n == 0) return;
    C buffer[kColumns<C>];
    tree.push_one(fetch<T>(row, sizeof(T), int(n) * cols, buffer), int(n) * cols);
  });
  feed.rest();
  C all[kColumns<C>];
  tree.total(all);
  while (k > 1) {
    const int half = (k + 1) / 2;
    for (int i = 0; i < (k - half) * cols; ++i) all[i] = Op::join(all[i], all[i + half * cols]);
    k = half;
  }
  for (int i = 0; i < cols; ++i) y[i] = all[i];
}

template <class Op, class T>
void fold_columns(const Sequence& s, const char* x, int64_t step, int64_t cols, int64_t begin,
                  int64_t end, char* y) {
  using C = compute_t<T>;
  C* out = reinterpret_cast<C*>(y);
  if (step == int64_t(sizeof(T)) && cols * 8 <= kColumns<C> &&
      s.stride[0][s.ndim - 1] == cols * int64_t(sizeof(T)) && end - begin > 8)
    return fold_narrow_columns<Op, T>(s, x, int(cols), begin, end, out);
  for (int64_t c = 0; c < cols; c += kColumns<C>) {
    ColumnTree<Op, C> tree(int(smaller<int64_t>(kColumns<C>, cols - c)));
    RowFeed<Op, T> feed{tree};
    for_runs(s, x + c * step, begin, end, [&](const char* p, int64_t n) {
      for (int64_t i = 0; i < n; ++i) feed.add(p + i * s.stride[0][s.ndim - 1], step);
    });
    feed.rest();
    tree.total(out + c);
  }
}

}  // namespace

#define TG_FLOATS(kernel, Op) \
  {nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   nullptr,                   \
   kernel<Op, half>,          \
   kernel<Op, bfloat16>,      \
   kernel<Op, float>,         \
   kernel<Op, double>}
#define TG_FOLDS(kernel) \
  {TG_FLOATS(kernel, Sum), TG_FLOATS(kernel, Prod), TG_FLOATS(kernel, Max), TG_FLOATS(kernel, Min)}

extern const FoldTable fold_arithmetic;
const FoldTable fold_arithmetic{TG_FOLDS(fold_rows), TG_FOLDS(fold_columns)};

}  // namespace TG_ISA
}  // namespace tg

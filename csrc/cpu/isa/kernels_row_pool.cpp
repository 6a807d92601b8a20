// Pooling: neighbouring lanes hold neighbouring outputs (or channels), one tap of the window at a
// time, in row-major order of the window.
#include "cpu/isa/row_extreme.h"
#include "cpu/isa/row_shuffle.h"

namespace tg {
namespace TG_ISA {
namespace {

// n <= N lanes, step elements apart, reading nothing beyond the last. S: the step where it is 1 or
// 2, else 0.
template <int S, class C>
TG_INLINE Vec<C> load_lanes(const C* p, int64_t step, int n) {
  constexpr int N = Vec<C>::N;
  if constexpr (S == 1) return load_some(p, n);
  if constexpr (S == 2) return load_even(p, n);
  C lane[N] = {};
  for (int i = 0; i < n; ++i) lane[i] = p[i * step];
  return Vec<C>::load(lane);
}

// One lane, first maximum, a NaN wins over all but an earlier one. I: the type of the indices.
template <class C, class I>
TG_INLINE void max_of_lane(const MaxTaps& a, const char* x, int64_t place, C* y, I* index) {
  C best = *reinterpret_cast<const C*>(x + a.tap[0]);
  int at = 0;
  for (int t = 1; t < a.taps; ++t) {
    const C v = *reinterpret_cast<const C*>(x + a.tap[t]);
    if ((v > best) | ((v != v) & (best == best))) {
      best = v;
      at = t;
    }
  }
  *y = best;
  *index = I(place + a.offset[at]);
}

// n lanes of a row whose first one reads at x and has the given place.
template <class C, class I>
TG_INLINE void max_one_by_one(const MaxTaps& a, const char* x, int64_t place, int64_t n, C* y,
                              I* index) {
  const int64_t step = a.lane_step * int64_t(sizeof(C));
  for (int64_t i = 0; i < n; ++i)
    max_of_lane<C, I>(a, x + i * step, place + i * a.index_step, y + i, index + i);
}

// What indices are computed in.
template <class I>
struct Place {
  using type = int32_t;
};
template <>
struct Place<int64_t> {
  using type = int64_t;
};

// The same in vectors, n <= N. The lanes carry the offset of their best tap as a number, exact
// below 2^24. T: the number of taps, or 0.
template <int S, int T, class C, class I>
TG_INLINE void max_of_lanes(const MaxTaps& a, const C* offset, const typename Place<I>::type* lane,
                            const char* x, int64_t place, int n, C* y, I* index) {
  using P = typename Place<I>::type;
  constexpr int N = Vec<C>::N;
  const int taps = T != 0 ? T : a.taps;
  const auto load = [&](int t) {
    return load_lanes<S>(reinterpret_cast<const C*>(x + a.tap[t]), a.lane_step, n);
  };
  Vec<C> best = load(0), from = Vec<C>::set1(0);
  Mask<C> strange = best != best;
#pragma GCC unroll 8
  for (int t = 1; t < taps; ++t) {
    const Vec<C> v = load(t);
    const Mask<C> wins = v > best;
    best = select(wins, v, best);
    from = select(wins, Vec<C>::set1(offset[t]), from);
    strange = strange | (v != v);
  }
  if (__builtin_expect(any(strange), 0)) return max_one_by_one(a, x, place, n, y, index);
  C rest[N];
  from.store(rest);
  if (n == N) {
    best.store(y);
    for (int i = 0; i < N; ++i) index[i] = I(P(place) + lane[i] + int32_t(rest[i]));
  } else {
    best.store_n(y, n);
    for (int i = 0; i < n; ++i) index[i] = I(P(place) + lane[i] + int32_t(rest[i]));
  }
}

// Calls f(r, x, place, y, index) for every row.
template <class C, class I, class F>
TG_INLINE void for_rows(const MaxTaps& a, F&& f) {
  int64_t place = a.first + a.row * a.place_row, left = a.plane_rows - a.row;
  for (int64_t r = 0; r < a.rows; ++r, place += a.place_row) {
    if (left-- == 0) {
      place = a.first;
      left = a.plane_rows - 1;
    }
    f(r, a.base + r * a.x_row, place, reinterpret_cast<C*>(a.y) + r * a.n,
      reinterpret_cast<I*>(a.index) + r * a.n);
  }
}

template <int S, int T, class C, class I>
TG_INLINE void max_of_rows(const MaxTaps& a) {
  constexpr int N = Vec<C>::N;
  const int64_t n = a.n, step = a.lane_step * int64_t(sizeof(C));
  typename Place<I>::type lane[N];
  C offset[kMostTaps];
  for (int i = 0; i < N; ++i) lane[i] = i * a.index_step;
  for (int t = 0; t < a.taps; ++t) offset[t] = C(a.offset[t]);
  // Short rows are taken as whole vectors while what lies beyond them belongs to rows that follow,
  // which put right what was written there.
  int64_t whole = n < N ? 0 : a.rows;
  if (n < N && a.x_row > 0)
    whole = smaller(a.rows - (N - 1) / n, a.rows - 1 - ((N - n) * step - 1) / a.x_row);
  for_rows<C, I>(a, [&](int64_t r, const char* x, int64_t place, C* y, I* index) {
    if (r >= whole) return max_of_lanes<S, T, C, I>(a, offset, lane, x, place, int(n), y, index);
    for (int64_t i = 0; i < n; i += N) {
      if (i > 0 && i + N > n) i = n - N;  // starts earlier: again rather than in part
      max_of_lanes<S, T, C, I>(a, offset, lane, x + i * step, place + i * a.index_step, N, y + i,
                               index + i);
    }
  });
}

template <class C, class I>
void max_taps_whole(const MaxTaps& a) {
  for_rows<C, I>(a, [&](int64_t, const char* x, int64_t place, C* y, I* index) {
    max_one_by_one(a, x, place, a.n, y, index);
  });
}

template <int S, class C, class I>
TG_INLINE void max_by_taps(const MaxTaps& a) {
  if (a.taps == 4)  // windows of 2 x 2 and 3 x 3
    max_of_rows<S, 4, C, I>(a);
  else if (a.taps == 9)
    max_of_rows<S, 9, C, I>(a);
  else
    max_of_rows<S, 0, C, I>(a);
}

template <class C, class I>
void max_taps(const MaxTaps& a) {
  if (a.n == 1 || a.offset[a.taps - 1] >= int64_t(1) << 24)
    max_taps_whole<C, I>(a);
  else if (a.lane_step == 1)
    max_by_taps<1, C, I>(a);
  else if (a.lane_step == 2)
    max_by_taps<2, C, I>(a);
  else
    max_of_rows<0, 0, C, I>(a);
}

// Finds the piece of a row that holds the maximum, then its place in it.
template <class C>
void max_window(const Window& w, char* y, int64_t* tap) {
  C buffer[kStep], best{};
  const char* where = nullptr;
  for (int64_t d = 0; d < w.size[0]; ++d)
    for (int64_t h = 0; h < w.size[1]; ++h)
      for (int64_t i = 0; i < w.size[2]; i += kStep) {
        const char* p = w.x + d * w.stride[0] + h * w.stride[1] + i * w.stride[2];
        const int n = int(smaller<int64_t>(kStep, w.size[2] - i));
        const C top = extreme<Larger>(fetch<C>(p, w.stride[2], n, buffer), n);
        if (where != nullptr && !beats<Larger>(top, best)) continue;
        best = top;
        where = p;
        tap[0] = d;
        tap[1] = h;
        tap[2] = i;
      }
  const int n = int(smaller<int64_t>(kStep, w.size[2] - tap[2]));
  tap[2] += find(fetch<C>(where, w.stride[2], n, buffer), best);
  write(y, best);
}

template <int S, class C>
TG_INLINE Vec<C> add_taps(const SumTaps& a, int phase, int64_t first, int n) {
  Vec<C> sum = Vec<C>::set1(0);
  for (int t = 0; t < a.taps[phase]; ++t)
    sum = sum + load_lanes<S>(reinterpret_cast<const C*>(a.base[phase] + a.tap[phase][t]) +
                                  first * a.lane_step,
                              a.lane_step, n);
  return sum;
}

template <int S, class C>
TG_INLINE void sum_of_lanes(const SumTaps& a, int64_t first, int n) {
  constexpr int N = Vec<C>::N;
  C* y = reinterpret_cast<C*>(a.y);
  Vec<C> x = add_taps<S, C>(a, 0, first, n);
  const Vec<C> share = Vec<C>::set1(C(a.share));
  if (a.phases == 2) {
    Vec<C> z = add_taps<S, C>(a, 1, first, n);
    if (a.share != 0) {
      x = x / share;
      z = z / share;
    }
    if (n == N) return store_interleaved(y + 2 * first, x, z);
    C lane[2 * N];
    store_interleaved(lane, x, z);
    for (int i = 0; i < 2 * n; ++i) y[2 * first + i] = lane[i];
    return;
  }
  if (a.count != nullptr)
    x = x / (share * load_some(reinterpret_cast<const C*>(a.count) + first, n));
  else if (a.share != 0)
    x = x / share;
  if (a.y_step == 1 && n == N) return x.store(y + first);
  if (a.y_step == 1) return x.store_n(y + first, n);
  C lane[N];
  x.store(lane);
  for (int i = 0; i < n; ++i) y[(first + i) * a.y_step] = lane[i];
}

template <int S, class C>
TG_INLINE void sum_of_row(const SumTaps& a) {
  constexpr int N = Vec<C>::N;
  int64_t first = 0;
  for (; first + N <= a.n; first += N) sum_of_lanes<S, C>(a, first, N);
  if (first == a.n) return;
  if (a.n > N)
    sum_of_lanes<S, C>(a, a.n - N, N);
  else
    sum_of_lanes<S, C>(a, 0, int(a.n));
}

template <class C>
void sum_taps(const SumTaps& a) {
  if (a.lane_step == 1)
    sum_of_row<1, C>(a);
  else if (a.lane_step == 2)
    sum_of_row<2, C>(a);
  else
    sum_of_row<0, C>(a);
}

}  // namespace

#define TG_INTEGERS(kernel)                                                            \
  kernel<uint8_t>, kernel<uint8_t>, kernel<int8_t>, kernel<uint16_t>, kernel<int16_t>, \
      kernel<uint32_t>, kernel<int32_t>, kernel<uint64_t>, kernel<int64_t>
#define TG_MAX(I)               \
  {max_taps_whole<uint8_t, I>,  \
   max_taps_whole<uint8_t, I>,  \
   max_taps_whole<int8_t, I>,   \
   max_taps_whole<uint16_t, I>, \
   max_taps_whole<int16_t, I>,  \
   max_taps_whole<uint32_t, I>, \
   max_taps_whole<int32_t, I>,  \
   max_taps_whole<uint64_t, I>, \
   max_taps_whole<int64_t, I>,  \
   nullptr,                     \
   nullptr,                     \
   max_taps<float, I>,          \
   max_taps<double, I>}

extern const PoolTable pool_table;
const PoolTable pool_table{
    {TG_MAX(uint16_t), TG_MAX(int32_t), TG_MAX(int64_t)},
    {TG_INTEGERS(max_window), nullptr, nullptr, max_window<float>, max_window<double>},
    {nullptr, nullptr, sum_taps<float>, sum_taps<double>}};

}  // namespace TG_ISA
}  // namespace tg

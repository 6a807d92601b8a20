#include "cpu/isa/math.h"
#include "cpu/isa/row_fold.h"
#include "cpu/isa/softmax_kernels.h"

namespace tg {
namespace TG_ISA {
namespace {

constexpr int64_t kPart = 4096;  // elements summed in T before the sum goes on in double

// Calls f(lanes, i, k) for the elements [i, i + k) of a row; lanes past the end hold fill.
template <class T, class F>
TG_INLINE void for_lanes(int64_t begin, int64_t end, const T* x, T fill, F f) {
  using V = Vec<T>;
  int64_t i = begin;
  for (; i + V::N <= end; i += V::N) f(V::load(x + i), i, V::N);
  if (i == end) return;
  const int n = int(end - i);
  f(select(first_lanes_of<T>(n), V::load_n(x + i, n), V::set1(fill)), i, n);
}

template <class T>
T infinity_of() {
  return T(__builtin_inf());
}

template <class T>
T row_max(int64_t n, const T* x) {
  using V = Vec<T>;
  V top = V::set1(-infinity_of<T>());
  for_lanes(0, n, x, -infinity_of<T>(), [&](V v, int64_t, int) { top = max(v, top); });
  return hmax(top);
}

// Sum of f(lanes) over a row; f of fill must be 0.
template <class T, class F>
TG_INLINE double row_sum(int64_t n, const T* x, T fill, F f) {
  using V = Vec<T>;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = begin + kPart < n ? begin + kPart : n;
    V sum = V::set1(T(0));
    for_lanes(begin, end, x, fill, [&](V v, int64_t i, int k) { sum = sum + f(v, i, k); });
    total += double(hsum(sum));
  }
  return total;
}

template <class T>
double sum_exp(int64_t n, const T* x, T shift) {
  using V = Vec<T>;
  const V s = V::set1(shift);
  return row_sum(n, x, -infinity_of<T>(), [&](V v, int64_t, int) { return exp(v - s); });
}

template <class T>
void exp_shifted(int64_t n, const T* x, T shift, T scale, T* y) {
  using V = Vec<T>;
  const V s = V::set1(shift), a = V::set1(scale);
  for_lanes(0, n, x, T(0), [&](V v, int64_t i, int k) { (exp(v - s) * a).store_n(y + i, k); });
}

template <class T>
void softmax(int64_t n, const T* x, T* y) {
  using V = Vec<T>;
  const T top = row_max(n, x);
  exp_shifted(n, x, top, T(1), y);
  const V scale = V::set1(T(row_sum(n, y, T(0), [](V v, int64_t, int) { return v; })));
  for_lanes(0, n, y, T(0), [&](V v, int64_t i, int k) { (v / scale).store_n(y + i, k); });
}

template <class T>
void log_softmax(int64_t n, const T* x, T* y) {
  using V = Vec<T>;
  const T top = row_max(n, x);
  const V shift = V::set1(top), rest = V::set1(T(__builtin_log(sum_exp(n, x, top))));
  for_lanes(0, n, x, T(0), [&](V v, int64_t i, int k) { ((v - shift) - rest).store_n(y + i, k); });
}

template <class T>
T logsumexp(int64_t n, const T* x, T* shift) {
  const T top = row_max(n, x);
  *shift = top == infinity_of<T>() || top == -infinity_of<T>() ? T(0) : top;
  return T(__builtin_log(sum_exp(n, x, *shift)));
}

template <class T>
void softmax_grad(int64_t n, const T* g, const T* y, T* gx) {
  using V = Vec<T>;
  const V inner = V::set1(
      T(row_sum(n, g, T(0), [&](V v, int64_t i, int k) { return v * V::load_n(y + i, k); })));
  for_lanes(0, n, g, T(0),
            [&](V v, int64_t i, int k) { (V::load_n(y + i, k) * (v - inner)).store_n(gx + i, k); });
}

template <class T>
void log_softmax_grad(int64_t n, const T* g, const T* y, T* gx) {
  using V = Vec<T>;
  const V sum = V::set1(T(row_sum(n, g, T(0), [](V v, int64_t, int) { return v; })));
  for_lanes(0, n, g, T(0), [&](V v, int64_t i, int k) {
    fnma(exp(V::load_n(y + i, k)), sum, v).store_n(gx + i, k);
  });
}

template <class T>
constexpr SoftmaxRows<T> rows() {
  return {softmax<T>,      log_softmax<T>,      logsumexp<T>,
          softmax_grad<T>, log_softmax_grad<T>, exp_shifted<T>};
}

}  // namespace

extern const SoftmaxKernels softmax_kernels;
const SoftmaxKernels softmax_kernels{rows<float>(), rows<double>()};

}  // namespace TG_ISA
}  // namespace tg

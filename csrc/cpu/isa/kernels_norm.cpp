#include "cpu/isa/norm_kernels.h"
#include "cpu/isa/row_fold.h"

namespace tg {
namespace TG_ISA {
namespace {

constexpr int64_t kPart = 4096;  // elements summed in T before the sum goes on in double
constexpr int kSums = 4;         // independent accumulators, to hide the latency of an addition

// A value per element (Step 1) or one for the row (Step 0).
template <class T, int Step>
struct Operand {
  const T* p;
  Vec<T> same;
  TG_INLINE explicit Operand(const T* q) : p(q), same(Vec<T>::set1(Step ? T(0) : *q)) {}
  TG_INLINE Vec<T> at(int64_t i) const { return Step ? Vec<T>::load(p + i) : same; }
  TG_INLINE Vec<T> part(int64_t i, int n) const { return Step ? Vec<T>::load_n(p + i, n) : same; }
};

// v where y is positive (or NaN, as the gradient of relu has it), else 0.
template <class T>
TG_INLINE Vec<T> passed(Vec<T> v, Vec<T> y) {
  const Vec<T> zero = Vec<T>::set1(T(0));
  return select(y <= zero, zero, v);
}

// The incoming gradient, masked by the output of a ReLU unless that is null.
template <class T>
struct Incoming {
  const T *g, *y;
  TG_INLINE Vec<T> at(int64_t i) const {
    const Vec<T> v = Vec<T>::load(g + i);
    return y != nullptr ? passed(v, Vec<T>::load(y + i)) : v;
  }
  TG_INLINE Vec<T> part(int64_t i, int n) const {
    const Vec<T> v = Vec<T>::load_n(g + i, n);
    return y != nullptr ? passed(v, Vec<T>::load_n(y + i, n)) : v;
  }
};

template <class T, int S, int W>
void apply_steps(int64_t n, const T* x, const T* m, const T* r, const T* w, const T* b, const T* z,
                 bool relu, T* y) {
  using V = Vec<T>;
  if (n == 0) return;
  const Operand<T, S> mean(m), rstd(r);
  const Operand<T, W> weight(w), bias(b);
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    V v = fma((V::load(x + i) - mean.at(i)) * rstd.at(i), weight.at(i), bias.at(i));
    if (z != nullptr) v = v + V::load(z + i);
    if (relu) v = passed(v, v);
    v.store(y + i);
  }
  if (i == n) return;
  const int k = int(n - i);
  V v = fma((V::load_n(x + i, k) - mean.part(i, k)) * rstd.part(i, k), weight.part(i, k),
            bias.part(i, k));
  if (z != nullptr) v = v + V::load_n(z + i, k);
  if (relu) v = passed(v, v);
  v.store_n(y + i, k);
}

template <class T>
void apply(int64_t n, const T* x, const T* m, const T* r, int s, const T* w, const T* b, int t,
           const T* z, bool relu, T* y) {
  if (s != 0) return apply_steps<T, 1, 1>(n, x, m, r, w, b, z, relu, y);
  if (t != 0) return apply_steps<T, 0, 1>(n, x, m, r, w, b, z, relu, y);
  apply_steps<T, 0, 0>(n, x, m, r, w, b, z, relu, y);
}

template <class T, int S, int W>
void grad_steps(int64_t n, Incoming<T> g, const T* x, const T* m, const T* r, const T* c1,
                const T* c2, const T* w, T* gx, T* gz) {
  using V = Vec<T>;
  if (n == 0) return;
  const Operand<T, S> mean(m), rstd(r), mean_h(c1), mean_hx(c2);
  const Operand<T, W> weight(w);
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    const V xhat = (V::load(x + i) - mean.at(i)) * rstd.at(i), gi = g.at(i);
    const V h = gi * weight.at(i) - mean_h.at(i);
    if (gz != nullptr) gi.store(gz + i);
    (fnma(xhat, mean_hx.at(i), h) * rstd.at(i)).store(gx + i);
  }
  if (i == n) return;
  const int k = int(n - i);
  const V xhat = (V::load_n(x + i, k) - mean.part(i, k)) * rstd.part(i, k), gi = g.part(i, k);
  const V h = gi * weight.part(i, k) - mean_h.part(i, k);
  if (gz != nullptr) gi.store_n(gz + i, k);
  (fnma(xhat, mean_hx.part(i, k), h) * rstd.part(i, k)).store_n(gx + i, k);
}

template <class T>
void grad(int64_t n, const T* g, const T* y, const T* x, const T* m, const T* r, const T* c1,
          const T* c2, int s, const T* w, int t, T* gx, T* gz) {
  const Incoming<T> in{g, y};
  if (s != 0) return grad_steps<T, 1, 1>(n, in, x, m, r, c1, c2, w, gx, gz);
  if (t != 0) return grad_steps<T, 0, 1>(n, in, x, m, r, c1, c2, w, gx, gz);
  grad_steps<T, 0, 0>(n, in, x, m, r, c1, c2, w, gx, gz);
}

template <class T, int W>
void sums_steps(int64_t n, Incoming<T> g, const T* x, T m, T r, const T* w, double* out) {
  using V = Vec<T>;
  out[0] = out[1] = 0;
  if (n == 0) return;
  const Operand<T, W> weight(w);
  const V mean = V::set1(m), rstd = V::set1(r), zero = V::set1(T(0));
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = begin + kPart < n ? begin + kPart : n;
    V a[kSums] = {zero, zero, zero, zero}, b[kSums] = {zero, zero, zero, zero};
    int64_t i = begin;
    for (; i + kSums * V::N <= end; i += kSums * V::N)
      for (int k = 0; k < kSums; ++k) {
        const int64_t at = i + k * V::N;
        const V h = g.at(at) * weight.at(at);
        a[k] = a[k] + h;
        b[k] = fma(h, (V::load(x + at) - mean) * rstd, b[k]);
      }
    for (; i + V::N <= end; i += V::N) {
      const V h = g.at(i) * weight.at(i);
      a[0] = a[0] + h;
      b[0] = fma(h, (V::load(x + i) - mean) * rstd, b[0]);
    }
    if (i < end) {
      const int k = int(end - i);
      // Lanes past the end hold h = 0; x = m there keeps xhat finite.
      const V h = g.part(i, k) * weight.part(i, k);
      const V v = select(first_lanes_of<T>(k), V::load_n(x + i, k), mean);
      a[0] = a[0] + h;
      b[0] = fma(h, (v - mean) * rstd, b[0]);
    }
    out[0] += double(hsum((a[0] + a[1]) + (a[2] + a[3])));
    out[1] += double(hsum((b[0] + b[1]) + (b[2] + b[3])));
  }
}

template <class T>
void sums(int64_t n, const T* g, const T* y, const T* x, T m, T r, const T* w, int t, double* out) {
  const Incoming<T> in{g, y};
  t != 0 ? sums_steps<T, 1>(n, in, x, m, r, w, out) : sums_steps<T, 0>(n, in, x, m, r, w, out);
}

template <class T, int S>
void accumulate_steps(int64_t n, const T* g, const T* x, const T* m, const T* r, T* sum_g,
                      T* sum_gx) {
  using V = Vec<T>;
  if (n == 0) return;
  const Operand<T, S> mean(m), rstd(r);
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    const V gi = V::load(g + i);
    (V::load(sum_g + i) + gi).store(sum_g + i);
    fma(gi, (V::load(x + i) - mean.at(i)) * rstd.at(i), V::load(sum_gx + i)).store(sum_gx + i);
  }
  if (i == n) return;
  const int k = int(n - i);
  const V gi = V::load_n(g + i, k);
  (V::load_n(sum_g + i, k) + gi).store_n(sum_g + i, k);
  fma(gi, (V::load_n(x + i, k) - mean.part(i, k)) * rstd.part(i, k), V::load_n(sum_gx + i, k))
      .store_n(sum_gx + i, k);
}

template <class T>
void accumulate(int64_t n, const T* g, const T* x, const T* m, const T* r, int s, T* sum_g,
                T* sum_gx) {
  s != 0 ? accumulate_steps<T, 1>(n, g, x, m, r, sum_g, sum_gx)
         : accumulate_steps<T, 0>(n, g, x, m, r, sum_g, sum_gx);
}

// Few columns at a time, so that their sums stay in registers from the first row to the last.
template <class T>
void columns(int64_t rows, int64_t n, const T* g, const T* y, const T* x, const T* m, const T* r,
             T* sum_g, T* sum_gx) {
  using V = Vec<T>;
  const Incoming<T> in{g, y};
  constexpr int kWide = 4;
  int64_t i = 0;
  for (; i + kWide * V::N <= n; i += kWide * V::N) {
    V a[kWide], b[kWide], mean[kWide], rstd[kWide];
    for (int k = 0; k < kWide; ++k) {
      a[k] = b[k] = V::set1(T(0));
      mean[k] = V::load(m + i + k * V::N);
      rstd[k] = V::load(r + i + k * V::N);
    }
    for (int64_t j = 0; j < rows; ++j)
      for (int k = 0; k < kWide; ++k) {
        const int64_t at = j * n + i + k * V::N;
        const V h = in.at(at);
        a[k] = a[k] + h;
        b[k] = fma(h, (V::load(x + at) - mean[k]) * rstd[k], b[k]);
      }
    for (int k = 0; k < kWide; ++k) {
      a[k].store(sum_g + i + k * V::N);
      b[k].store(sum_gx + i + k * V::N);
    }
  }
  for (; i < n; i += V::N) {
    const int k = n - i < V::N ? int(n - i) : V::N;
    V a = V::set1(T(0)), b = a;
    const V mean = V::load_n(m + i, k), rstd = V::load_n(r + i, k);
    for (int64_t j = 0; j < rows; ++j) {
      const V h = in.part(j * n + i, k);
      a = a + h;
      b = fma(h, (V::load_n(x + j * n + i, k) - mean) * rstd, b);
    }
    a.store_n(sum_g + i, k);
    b.store_n(sum_gx + i, k);
  }
}

template <class T>
void moments(int64_t n, const T* x, double* mean, double* var) {
  const T one = 1, zero = 0;
  double total[2];
  // sum(x) as the first sum; then sum(d) and sum(d * d) with d = x - mean, whose first corrects
  // the rounding of the mean.
  sums_steps<T, 0>(n, {x, nullptr}, x, zero, zero, &one, total);
  *mean = total[0] / double(n);
  const T centre = T(*mean);
  double squares = 0, rest = 0;
  using V = Vec<T>;
  const V c = V::set1(centre);
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = begin + kPart < n ? begin + kPart : n;
    V a = V::set1(zero), b = V::set1(zero);
    int64_t i = begin;
    for (; i + V::N <= end; i += V::N) {
      const V d = V::load(x + i) - c;
      a = a + d;
      b = fma(d, d, b);
    }
    if (i < end) {
      const int k = int(end - i);
      const V d = select(first_lanes_of<T>(k), V::load_n(x + i, k), c) - c;
      a = a + d;
      b = fma(d, d, b);
    }
    rest += double(hsum(a));
    squares += double(hsum(b));
  }
  rest /= double(n);
  *var = squares / double(n) - rest * rest;
  if (*var < 0) *var = 0;
}

template <class T>
constexpr NormRows<T> rows() {
  return {apply<T>, grad<T>, sums<T>, accumulate<T>, columns<T>, moments<T>};
}

}  // namespace

extern const NormKernels norm_kernels;
const NormKernels norm_kernels{rows<float>(), rows<double>()};

}  // namespace TG_ISA
}  // namespace tg

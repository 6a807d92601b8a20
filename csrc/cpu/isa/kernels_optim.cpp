// One pass over memory per step: every element is loaded once, stepped in registers, stored once.
// Products and sums are rounded one by one, so that every instruction set gives the bits of the
// NumPy reference.
//
// Sources: Polyak 1964, Sutskever et al. 2013 (SGD); Kingma and Ba 2015 (Adam, Adamax); Reddi et
// al. 2018 (AMSGrad); Hinton 2012, Graves 2013 (RMSprop); Duchi et al. 2011 (Adagrad); Zeiler 2012
// (Adadelta); Dozat 2016 (NAdam); Liu et al. 2020 (RAdam); Polyak and Juditsky 1992 (ASGD);
// Riedmiller and Braun 1993 (Rprop); Chen et al. 2023 (Lion).
#include "cpu/isa/optim_kernels.h"
#include "cpu/isa/row_load.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {
namespace {

template <class C>
TG_INLINE Vec<C> all(double x) {
  return Vec<C>::set1(C(x));
}
// -1, 0, 1; NaN stays.
template <class C>
TG_INLINE Vec<C> sign(Vec<C> x) {
  const auto zero = all<C>(0), one = all<C>(1);
  return select(x > zero, one, select(x < zero, neg(one), x));
}
// The larger; NaN on either side stays.
template <class C>
TG_INLINE Vec<C> largest(Vec<C> x, Vec<C> y) {
  return select(x != x, x, max(x, y));
}
template <class C>
TG_INLINE Vec<C> moved(Vec<C> average, Vec<C> share, Vec<C> value) {
  return average + share * (value - average);
}
template <class C>
TG_INLINE Vec<C> squares(Vec<C> average, Vec<C> keep, Vec<C> fresh, Vec<C> g) {
  return keep * average + fresh * g * g;
}

// An algorithm holds its numbers in registers and steps x: parameter, gradient, state.
template <class C, bool kMomentum>
struct Sgd {
  using Numbers = SgdNumbers;
  static constexpr int kOperands = kMomentum ? 3 : 2;
  const Vec<C> lr, momentum, fresh;
  const bool nesterov, first;

  TG_INLINE explicit Sgd(const Numbers& o)
      : lr(all<C>(o.lr)),
        momentum(all<C>(o.momentum)),
        fresh(all<C>(o.fresh)),
        nesterov(o.nesterov),
        first(o.first) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    Vec<C> g = x[1];
    if constexpr (kMomentum) {
      x[2] = first ? g : momentum * x[2] + fresh * g;
      g = nesterov ? g + momentum * x[2] : x[2];
    }
    x[0] = x[0] - lr * g;
  }
};

template <class C, bool kLargest>
struct Adam {
  using Numbers = AdamNumbers;
  static constexpr int kOperands = kLargest ? 5 : 4;
  const Vec<C> fresh1, beta2, fresh2, eps, rate, scale;

  TG_INLINE explicit Adam(const Numbers& o)
      : fresh1(all<C>(o.fresh1)),
        beta2(all<C>(o.beta2)),
        fresh2(all<C>(o.fresh2)),
        eps(all<C>(o.eps)),
        rate(all<C>(o.rate)),
        scale(all<C>(o.scale)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = moved(x[2], fresh1, x[1]);
    x[3] = squares(x[3], beta2, fresh2, x[1]);
    Vec<C> v = x[3];
    if constexpr (kLargest) v = x[4] = largest(x[4], v);
    x[0] = x[0] - rate * x[2] / (sqrt(v) * scale + eps);
  }
};

template <class C, bool kCentered, bool kMomentum>
struct Rmsprop {
  using Numbers = RmspropNumbers;
  static constexpr int kOperands = 3 + kCentered + kMomentum;
  const Vec<C> lr, alpha, fresh, eps, momentum;

  TG_INLINE explicit Rmsprop(const Numbers& o)
      : lr(all<C>(o.lr)),
        alpha(all<C>(o.alpha)),
        fresh(all<C>(o.fresh)),
        eps(all<C>(o.eps)),
        momentum(all<C>(o.momentum)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = squares(x[2], alpha, fresh, x[1]);
    Vec<C> v = x[2];
    if constexpr (kCentered) {
      x[3] = moved(x[3], fresh, x[1]);
      v = v - x[3] * x[3];
    }
    Vec<C> step = x[1] / (sqrt(v) + eps);
    if constexpr (kMomentum) {
      constexpr int b = 3 + kCentered;
      step = x[b] = momentum * x[b] + step;
    }
    x[0] = x[0] - lr * step;
  }
};

template <class C>
struct Adagrad {
  using Numbers = AdagradNumbers;
  static constexpr int kOperands = 3;
  const Vec<C> rate, eps;

  TG_INLINE explicit Adagrad(const Numbers& o) : rate(all<C>(o.rate)), eps(all<C>(o.eps)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = x[2] + x[1] * x[1];
    x[0] = x[0] - rate * x[1] / (sqrt(x[2]) + eps);
  }
};

template <class C>
struct Adadelta {
  using Numbers = AdadeltaNumbers;
  static constexpr int kOperands = 4;
  const Vec<C> lr, rho, fresh, eps;

  TG_INLINE explicit Adadelta(const Numbers& o)
      : lr(all<C>(o.lr)), rho(all<C>(o.rho)), fresh(all<C>(o.fresh)), eps(all<C>(o.eps)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = squares(x[2], rho, fresh, x[1]);
    const Vec<C> delta = sqrt(x[3] + eps) / sqrt(x[2] + eps) * x[1];
    x[3] = squares(x[3], rho, fresh, delta);
    x[0] = x[0] - lr * delta;
  }
};

template <class C>
struct Adamax {
  using Numbers = AdamaxNumbers;
  static constexpr int kOperands = 4;
  const Vec<C> fresh1, beta2, eps, rate;

  TG_INLINE explicit Adamax(const Numbers& o)
      : fresh1(all<C>(o.fresh1)),
        beta2(all<C>(o.beta2)),
        eps(all<C>(o.eps)),
        rate(all<C>(o.rate)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = moved(x[2], fresh1, x[1]);
    x[3] = largest(beta2 * x[3], abs(x[1]) + eps);
    x[0] = x[0] - rate * x[2] / x[3];
  }
};

template <class C>
struct Nadam {
  using Numbers = NadamNumbers;
  static constexpr int kOperands = 4;
  const Vec<C> fresh1, beta2, fresh2, eps, correction, now, ahead;

  TG_INLINE explicit Nadam(const Numbers& o)
      : fresh1(all<C>(o.fresh1)),
        beta2(all<C>(o.beta2)),
        fresh2(all<C>(o.fresh2)),
        eps(all<C>(o.eps)),
        correction(all<C>(o.correction)),
        now(all<C>(o.now)),
        ahead(all<C>(o.ahead)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = moved(x[2], fresh1, x[1]);
    x[3] = squares(x[3], beta2, fresh2, x[1]);
    x[0] = x[0] - (now * x[1] + ahead * x[2]) / (sqrt(x[3] * correction) + eps);
  }
};

template <class C>
struct Radam {
  using Numbers = RadamNumbers;
  static constexpr int kOperands = 4;
  const Vec<C> fresh1, beta2, fresh2, eps, rate;
  const bool rectified;

  TG_INLINE explicit Radam(const Numbers& o)
      : fresh1(all<C>(o.fresh1)),
        beta2(all<C>(o.beta2)),
        fresh2(all<C>(o.fresh2)),
        eps(all<C>(o.eps)),
        rate(all<C>(o.rate)),
        rectified(o.rectified) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[2] = moved(x[2], fresh1, x[1]);
    x[3] = squares(x[3], beta2, fresh2, x[1]);
    const Vec<C> step = rate * x[2];
    x[0] = x[0] - (rectified ? step / (sqrt(x[3]) + eps) : step);
  }
};

template <class C>
struct Asgd {
  using Numbers = AsgdNumbers;
  static constexpr int kOperands = 3;
  const Vec<C> shrink, eta, mu;
  const bool restart;

  TG_INLINE explicit Asgd(const Numbers& o)
      : shrink(all<C>(o.shrink)), eta(all<C>(o.eta)), mu(all<C>(o.mu)), restart(o.mu == 1) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[0] = x[0] * shrink - eta * x[1];
    x[2] = restart ? x[0] : moved(x[2], mu, x[0]);
  }
};

template <class C>
struct Rprop {
  using Numbers = RpropNumbers;
  static constexpr int kOperands = 4;
  const Vec<C> shrink, grow, low, high;

  TG_INLINE explicit Rprop(const Numbers& o)
      : shrink(all<C>(o.shrink)), grow(all<C>(o.grow)), low(all<C>(o.low)), high(all<C>(o.high)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    const auto zero = all<C>(0), agree = x[1] * x[2];
    const auto turned = agree < zero;
    const auto factor = select(turned, shrink, select(agree > zero, grow, all<C>(1)));
    x[3] = min(high, max(low, x[3] * factor));
    x[2] = select(turned, zero, x[1]);
    x[0] = x[0] - sign(x[2]) * x[3];
  }
};

template <class C>
struct Lion {
  using Numbers = LionNumbers;
  static constexpr int kOperands = 3;
  const Vec<C> lr, beta1, fresh1, fresh2;

  TG_INLINE explicit Lion(const Numbers& o)
      : lr(all<C>(o.lr)),
        beta1(all<C>(o.beta1)),
        fresh1(all<C>(o.fresh1)),
        fresh2(all<C>(o.fresh2)) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    x[0] = x[0] - lr * sign(x[2] * beta1 + fresh1 * x[1]);
    x[2] = moved(x[2], fresh2, x[1]);
  }
};

// What every optimizer does before and after its own step.
template <class C, class Algorithm>
struct Step {
  using Numbers = typename Algorithm::Numbers;
  static constexpr int kOperands = Algorithm::kOperands;
  const Algorithm step;
  const Vec<C> decay, keep, threshold;
  const bool maximize, coupled, decoupled, thresholds;

  TG_INLINE explicit Step(const Numbers& o)
      : step(o),
        decay(all<C>(o.decay)),
        keep(all<C>(o.keep)),
        threshold(all<C>(o.threshold)),
        maximize(o.maximize),
        coupled(o.decay != 0),
        decoupled(o.keep != 1),
        thresholds(o.threshold != 0) {}
  TG_INLINE void operator()(Vec<C>* x) const {
    if (maximize) x[1] = neg(x[1]);
    if (coupled) x[1] = x[1] + decay * x[0];
    if (decoupled) x[0] = x[0] * keep;
    step(x);
    if (thresholds) x[0] = copysign(max(all<C>(0), abs(x[0]) - threshold), x[0]);
  }
};

// The same on lists of one operand.
template <class C>
struct Scale {
  using Numbers = ScaleNumbers;
  static constexpr int kOperands = 1;
  const Vec<C> factor;

  TG_INLINE explicit Scale(const Numbers& o) : factor(all<C>(o.factor)) {}
  TG_INLINE void operator()(Vec<C>* x) const { x[0] = x[0] * factor; }
};

template <class C, class S, int K>
TG_INLINE void span(const S& step, C* const (&p)[K], int64_t n) {
  using V = Vec<C>;
  V x[K];
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) {
    for (int k = 0; k < K; ++k) x[k] = V::load(p[k] + i);
    step(x);
    for (int k = 0; k < K; ++k)
      if (k != 1) x[k].store(p[k] + i);
  }
  if (i == n) return;
  const int rest = int(n - i);
  for (int k = 0; k < K; ++k) x[k] = V::load_n(p[k] + i, rest);
  step(x);
  for (int k = 0; k < K; ++k)
    if (k != 1) x[k].store_n(p[k] + i, rest);
}

template <class T>
TG_INLINE void write_run(char* p, int64_t stride, int n, const compute_t<T>* in) {
  if (stride != int64_t(sizeof(T)))
    for (int i = 0; i < n; ++i) write<T>(p + i * stride, compute<T>::store(in[i]));
  else if constexpr (is_same<T, compute_t<T>>::value)
    __builtin_memcpy(p, in, n * sizeof(T));
  else
    narrow_block(reinterpret_cast<T*>(p), in, n);
}

// Memory that is not contiguous elements of the compute type passes through blocks of it.
template <class T, class S>
void row(const typename S::Numbers& numbers, char* const* p, const int64_t* stride, int64_t n) {
  using C = compute_t<T>;
  constexpr int K = S::kOperands;
  const S step(numbers);
  C* at[K];
  bool plain = true;
  for (int k = 0; k < K; ++k) {
    at[k] = reinterpret_cast<C*>(p[k]);
    plain = plain && direct<T>(stride[k]);
  }
  if (plain) return span(step, at, n);
  constexpr int block = 16 * Vec<C>::N;
  C buffer[K][block];
  for (int k = 0; k < K; ++k) at[k] = buffer[k];
  for (int64_t i = 0; i < n; i += block) {
    const int m = int(smaller<int64_t>(block, n - i));
    for (int k = 0; k < K; ++k) read_run<T>(p[k] + i * stride[k], stride[k], m, buffer[k]);
    span(step, at, m);
    for (int k = 0; k < K; ++k)
      if (k != 1) write_run<T>(p[k] + i * stride[k], stride[k], m, buffer[k]);
  }
}

// Squares are summed in double: 10^7 of them keep the digits of float32, and none overflows.
TG_INLINE Vec<double> add_squares(Vec<double> sum, Vec<float> x) {
  const auto low = widen_low(x), high = widen_high(x);
  return fma(high, high, fma(low, low, sum));
}
TG_INLINE Vec<double> add_squares(Vec<double> sum, Vec<double> x) { return fma(x, x, sum); }

// Calls f(vector, i % 4) for the elements of a run, the last one filled with zeros.
template <class T, class F>
TG_INLINE void for_vectors(const char* p, int64_t stride, int64_t n, F&& f) {
  using C = compute_t<T>;
  using V = Vec<C>;
  constexpr int block = kBlock<C>;
  C buffer[block];
  for (int64_t i = 0; i < n; i += block) {
    const int m = int(smaller<int64_t>(block, n - i));
    const C* x = fetch<T>(p + i * stride, stride, m, buffer);
    int j = 0;
    for (; j + 4 * V::N <= m; j += 4 * V::N)
      for (int k = 0; k < 4; ++k) f(V::load(x + j + k * V::N), k);
    for (; j < m; j += V::N) f(j + V::N <= m ? V::load(x + j) : V::load_n(x + j, m - j), 0);
  }
}

template <class T>
double squares_row(const char* p, int64_t stride, int64_t n) {
  Vec<double> sum[4] = {all<double>(0), all<double>(0), all<double>(0), all<double>(0)};
  for_vectors<T>(p, stride, n, [&](auto x, int k) { sum[k] = add_squares(sum[k], x); });
  return hsum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
double largest_row(const char* p, int64_t stride, int64_t n) {
  using C = compute_t<T>;
  Vec<C> most[4] = {all<C>(0), all<C>(0), all<C>(0), all<C>(0)}, nan = all<C>(0);
  for_vectors<T>(p, stride, n, [&](auto x, int k) {
    most[k] = max(most[k], abs(x));
    nan = select(x != x, x, nan);
  });
  if (any(nan != nan)) return __builtin_nan("");
  return double(hmax(max(max(most[0], most[1]), max(most[2], most[3]))));
}

template <class F, class D>
constexpr StepRows<typename F::Numbers> whole() {
  return {{row<half, F>, row<bfloat16, F>, row<float, F>, row<double, D>}};
}
template <class F, class D>
constexpr StepRows<typename F::Numbers> rows() {
  return whole<Step<float, F>, Step<double, D>>();
}

using f = float;
using d = double;

}  // namespace

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels{
    rows<Sgd<f, false>, Sgd<d, false>>(),
    rows<Sgd<f, true>, Sgd<d, true>>(),
    rows<Adam<f, false>, Adam<d, false>>(),
    rows<Adam<f, true>, Adam<d, true>>(),
    {{rows<Rmsprop<f, false, false>, Rmsprop<d, false, false>>(),
      rows<Rmsprop<f, false, true>, Rmsprop<d, false, true>>()},
     {rows<Rmsprop<f, true, false>, Rmsprop<d, true, false>>(),
      rows<Rmsprop<f, true, true>, Rmsprop<d, true, true>>()}},
    rows<Adagrad<f>, Adagrad<d>>(),
    rows<Adadelta<f>, Adadelta<d>>(),
    rows<Adamax<f>, Adamax<d>>(),
    rows<Nadam<f>, Nadam<d>>(),
    rows<Radam<f>, Radam<d>>(),
    rows<Asgd<f>, Asgd<d>>(),
    rows<Rprop<f>, Rprop<d>>(),
    rows<Lion<f>, Lion<d>>(),
    whole<Scale<f>, Scale<d>>(),
    {squares_row<half>, squares_row<bfloat16>, squares_row<f>, squares_row<d>},
    {largest_row<half>, largest_row<bfloat16>, largest_row<f>, largest_row<d>},
};

}  // namespace TG_ISA
}  // namespace tg

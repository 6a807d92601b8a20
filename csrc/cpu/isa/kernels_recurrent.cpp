// Hochreiter and Schmidhuber 1997 (LSTM, with the forget gate of Gers et al. 2000); Cho et al. 2014
// (GRU, the reset gate behind the product as in cuDNN and PyTorch).
#include "cpu/isa/math.h"
#include "cpu/isa/recurrent_kernels.h"
#include "cpu/isa/vec.h"

namespace tg {
namespace TG_ISA {
namespace {

// Calls f(load, store, i) for the lanes of n elements, whole registers first.
template <class T, class F>
TG_INLINE void for_units(int64_t n, F f) {
  using V = Vec<T>;
  const auto load = [](const T* p) { return V::load(p); };
  const auto store = [](T* p, V v) { v.store(p); };
  int64_t i = 0;
  for (; i + V::N <= n; i += V::N) f(load, store, i);
  if (i == n) return;
  const int rest = int(n - i);
  f([rest](const T* p) { return V::load_n(p, rest); }, [rest](T* p, V v) { v.store_n(p, rest); },
    i);
}

template <class T>
void tanh_row(int64_t n, T* h) {
  for_units<T>(n, [=](auto load, auto store, int64_t i) { store(h + i, tanh(load(h + i))); });
}

template <class T>
void relu_row(int64_t n, T* h) {
  const auto zero = Vec<T>::set1(T(0));
  for_units<T>(n, [=](auto load, auto store, int64_t i) { store(h + i, max(zero, load(h + i))); });
}

template <class T>
void tanh_grad_row(int64_t n, const T* h, const T* gh, const T* dh, T* g) {
  const auto one = Vec<T>::set1(T(1));
  for_units<T>(n, [=](auto load, auto store, int64_t i) {
    const auto y = load(h + i);
    store(g + i, (load(dh + i) + load(gh + i)) * fnma(y, y, one));
  });
}

template <class T>
void relu_grad_row(int64_t n, const T* h, const T* gh, const T* dh, T* g) {
  const auto zero = Vec<T>::set1(T(0));
  for_units<T>(n, [=](auto load, auto store, int64_t i) {
    store(g + i, select(load(h + i) > zero, load(dh + i) + load(gh + i), zero));
  });
}

template <class T>
void lstm_row(int64_t count, int64_t n, T* gates, const T* c_before, T* c, T* h) {
  for_units<T>(count, [=](auto load, auto store, int64_t k) {
    const auto i = sigmoid(load(gates + k)), f = sigmoid(load(gates + n + k));
    const auto g = tanh(load(gates + 2 * n + k)), o = sigmoid(load(gates + 3 * n + k));
    const auto state = fma(f, load(c_before + k), i * g);
    store(gates + k, i);
    store(gates + n + k, f);
    store(gates + 2 * n + k, g);
    store(gates + 3 * n + k, o);
    store(c + k, state);
    store(h + k, o * tanh(state));
  });
}

template <class T>
void lstm_grad_row(int64_t count, int64_t n, const T* gates, const T* c_before, const T* c,
                   const T* gh, const T* dh, T* dc, T* out) {
  const auto one = Vec<T>::set1(T(1));
  for_units<T>(count, [=](auto load, auto store, int64_t k) {
    const auto i = load(gates + k), f = load(gates + n + k);
    const auto g = load(gates + 2 * n + k), o = load(gates + 3 * n + k);
    const auto t = tanh(load(c + k)), d = load(dh + k) + load(gh + k);
    const auto state = fma(d * o, fnma(t, t, one), load(dc + k));
    store(out + k, state * g * i * (one - i));
    store(out + n + k, state * load(c_before + k) * f * (one - f));
    store(out + 2 * n + k, state * i * fnma(g, g, one));
    store(out + 3 * n + k, d * t * o * (one - o));
    store(dc + k, state * f);
  });
}

template <class T>
void gru_row(int64_t count, int64_t n, const T* gates, const T* hidden, const T* before, T* saved,
             T* h) {
  const auto one = Vec<T>::set1(T(1));
  for_units<T>(count, [=](auto load, auto store, int64_t k) {
    const auto r = sigmoid(load(gates + k) + load(hidden + k));
    const auto z = sigmoid(load(gates + n + k) + load(hidden + n + k));
    const auto u = load(hidden + 2 * n + k);
    const auto m = tanh(fma(r, u, load(gates + 2 * n + k)));
    store(saved + k, r);
    store(saved + n + k, z);
    store(saved + 2 * n + k, m);
    store(saved + 3 * n + k, u);
    store(h + k, fma(z, load(before + k), (one - z) * m));
  });
}

template <class T>
void gru_grad_row(int64_t count, int64_t n, const T* saved, const T* before, const T* gh, T* dh,
                  T* g, T* hidden) {
  const auto one = Vec<T>::set1(T(1));
  for_units<T>(count, [=](auto load, auto store, int64_t k) {
    const auto r = load(saved + k), z = load(saved + n + k), m = load(saved + 2 * n + k);
    const auto u = load(saved + 3 * n + k), d = load(dh + k) + load(gh + k);
    const auto dm = d * (one - z) * fnma(m, m, one);
    const auto dr = dm * u * r * (one - r);
    const auto dz = d * (load(before + k) - m) * z * (one - z);
    store(g + k, dr);
    store(g + n + k, dz);
    store(g + 2 * n + k, dm);
    store(hidden + k, dr);
    store(hidden + n + k, dz);
    store(hidden + 2 * n + k, dm * r);
    store(dh + k, d * z);
  });
}

template <class T>
constexpr RecurrentRows<T> rows() {
  return {tanh_row<T>, relu_row<T>,      tanh_grad_row<T>, relu_grad_row<T>,
          lstm_row<T>, lstm_grad_row<T>, gru_row<T>,       gru_grad_row<T>};
}

}  // namespace

extern const RecurrentKernels recurrent_kernels;
const RecurrentKernels recurrent_kernels{rows<float>(), rows<double>()};

}  // namespace TG_ISA
}  // namespace tg

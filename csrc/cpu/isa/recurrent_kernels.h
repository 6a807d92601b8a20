// One step of a recurrent layer for one sample: n hidden units, rows contiguous.
#pragma once
#include <cstdint>

namespace tg {

template <class T>
struct RecurrentRows {
  // h holds the sums on entry, tanh or max(., 0) of them on return.
  void (*tanh)(int64_t n, T* h);
  void (*relu)(int64_t n, T* h);
  // g, the gradient of the sums, from that of h.
  void (*tanh_grad)(int64_t n, const T* h, const T* dh, T* g);
  void (*relu_grad)(int64_t n, const T* h, const T* dh, T* g);
  // gates (4 n: input, forget, cell, output) holds sums on entry, activations on return.
  void (*lstm)(int64_t n, T* gates, const T* c_before, T* c, T* h);
  // dc: that of c on entry, that of c_before on return.
  void (*lstm_grad)(int64_t n, const T* gates, const T* c_before, const T* c, const T* dh, T* dc,
                    T* g);
  // gates and hidden (3 n: reset, update, new) are the two sums; saved (4 n) gets the activations
  // and the hidden sum of new.
  void (*gru)(int64_t n, const T* gates, const T* hidden, const T* before, T* saved, T* h);
  // dh: that of h on entry, on return the part of that of before that bypasses the gates.
  void (*gru_grad)(int64_t n, const T* saved, const T* before, T* dh, T* g, T* hidden);
};

struct RecurrentKernels {
  RecurrentRows<float> f32;
  RecurrentRows<double> f64;
};

}  // namespace tg

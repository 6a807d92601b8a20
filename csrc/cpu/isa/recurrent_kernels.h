// One step of a recurrent layer for one sample: count of its n hidden units. Arrays of several
// gates have them n elements apart.
#pragma once
#include <cstdint>

namespace tg {

template <class T>
struct RecurrentRows {
  // h holds the sums on entry, tanh or max(., 0) of them on return.
  void (*tanh)(int64_t count, T* h);
  void (*relu)(int64_t count, T* h);
  // The gradient of h is gh + dh throughout. g: that of the sums.
  void (*tanh_grad)(int64_t count, const T* h, const T* gh, const T* dh, T* g);
  void (*relu_grad)(int64_t count, const T* h, const T* gh, const T* dh, T* g);
  // gates (input, forget, cell, output) holds sums on entry, activations on return.
  void (*lstm)(int64_t count, int64_t n, T* gates, const T* c_before, T* c, T* h);
  // dc: that of c on entry, that of c_before on return.
  void (*lstm_grad)(int64_t count, int64_t n, const T* gates, const T* c_before, const T* c,
                    const T* gh, const T* dh, T* dc, T* g);
  // gates and hidden (reset, update, new) are the two sums; saved gets the three activations and
  // the hidden sum of new.
  void (*gru)(int64_t count, int64_t n, const T* gates, const T* hidden, const T* before, T* saved,
              T* h);
  // dh: on return the part of the gradient of before that bypasses the gates.
  void (*gru_grad)(int64_t count, int64_t n, const T* saved, const T* before, const T* gh, T* dh,
                   T* g, T* hidden);
};

struct RecurrentKernels {
  RecurrentRows<float> f32;
  RecurrentRows<double> f64;
};

}  // namespace tg

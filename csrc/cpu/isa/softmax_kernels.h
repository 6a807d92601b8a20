// Rows of the softmax family; rows are contiguous and not empty.
#pragma once
#include <cstdint>

namespace tg {

template <class T>
struct SoftmaxRows {
  void (*softmax)(int64_t n, const T* x, T* y);
  void (*log_softmax)(int64_t n, const T* x, T* y);
  // ln(sum(exp(x - shift))); shift is the maximum, or 0 where that is infinite.
  T (*logsumexp)(int64_t n, const T* x, T* shift);
  void (*softmax_grad)(int64_t n, const T* g, const T* y, T* gx);      // y (g - sum(g y))
  void (*log_softmax_grad)(int64_t n, const T* g, const T* y, T* gx);  // g - exp(y) sum(g)
  void (*exp_shifted)(int64_t n, const T* x, T shift, T scale, T* y);  // scale exp(x - shift)
};

struct SoftmaxKernels {
  SoftmaxRows<float> f32;
  SoftmaxRows<double> f64;
};

}  // namespace tg

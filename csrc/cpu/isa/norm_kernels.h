// Rows of the normalisations: xhat = (x - m) * r, y = xhat * w + b. Rows are contiguous; each
// statistic or weight is one value for the row (step 0) or one per element (step 1).
#pragma once
#include <cstdint>

namespace tg {

template <class T>
struct NormRows {
  // y[i] = (x[i] - m) * r * w + b, plus z[i] unless z is null, negative values as 0 if relu; m, r
  // with step s, w, b with step t. Steps (s, t): (0, 0), (1, 1) or (0, 1).
  void (*apply)(int64_t n, const T* x, const T* m, const T* r, int s, const T* w, const T* b, int t,
                const T* z, bool relu, T* y);
  // In the gradients y is the output of a ReLU, or null; where it is not positive, g counts as 0.
  // gx[i] = r * (g[i] * w - c1 - xhat[i] * c2); m, r, c1, c2 with step s, w with step t. Unless gz
  // is null, gz[i] = g[i].
  void (*grad)(int64_t n, const T* g, const T* y, const T* x, const T* m, const T* r, const T* c1,
               const T* c2, int s, const T* w, int t, T* gx, T* gz);
  // out = (sum of h, sum of h * xhat) with h = g * w; w with step t.
  void (*sums)(int64_t n, const T* g, const T* y, const T* x, T m, T r, const T* w, int t,
               double* out);
  // sum_g[i] += g[i], sum_gx[i] += g[i] * xhat[i]; m, r with step s.
  void (*accumulate)(int64_t n, const T* g, const T* x, const T* m, const T* r, int s, T* sum_g,
                     T* sum_gx);
  // sum_g[i], sum_gx[i]: sums over rows of n elements each, which follow each other; m, r with
  // step 1.
  void (*columns)(int64_t rows, int64_t n, const T* g, const T* y, const T* x, const T* m,
                  const T* r, T* sum_g, T* sum_gx);
  // Mean and biased variance, in two passes.
  void (*moments)(int64_t n, const T* x, double* mean, double* var);
};

struct NormKernels {
  NormRows<float> f32;
  NormRows<double> f64;
};

}  // namespace tg

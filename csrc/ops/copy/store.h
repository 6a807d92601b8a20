// Storing rows of a result, past the caches where it is large.
#pragma once
#include "core/stream.h"
#include "cpu/isa/elementwise.h"
#include "cpu/isa/kernels.h"

namespace tg {

constexpr int64_t kStage = 1024;  // elements computed in the first-level cache, then stored

// f(row, i, m, out) computes the elements [i, i + m) of a row into out. Called for the rows [begin,
// end) of y, of n contiguous elements each; in parts, where the rows are long and y is stored past
// the caches.
template <class T, class F>
void store_rows(int64_t begin, int64_t end, int64_t n, T* y, bool past, F&& f) {
  if (!past) {
    for (int64_t r = begin; r < end; ++r) f(r, 0, n, y + r * n);
    return;
  }
  const auto stream = kernels().elementwise->stream;
  alignas(64) T stage[kStage];
  const int64_t group = std::max<int64_t>(kStage / std::max<int64_t>(n, 1), 1);
  for (int64_t r = begin; r < end; r += group) {
    const int64_t rows = std::min(group, end - r);
    for (int64_t i = 0; i < n; i += kStage) {
      const int64_t m = std::min(kStage, n - i);
      for (int64_t k = 0; k < rows; ++k) f(r + k, i, m, stage + k * n);
      stream(reinterpret_cast<char*>(y + r * n + i), reinterpret_cast<const char*>(stage),
             rows * m * int64_t(sizeof(T)));
    }
  }
  stream_fence();
}

}  // namespace tg

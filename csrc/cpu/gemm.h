// C (m x n) = A (m x k) B (k x n), for matrix multiplication and convolution alike.
#pragma once
#include <cstdint>

#include "core/pool.h"
#include "cpu/finish.h"

namespace tg {

// An operand. Its lanes are the rows of A or the columns of B; strides are in elements.
// With pack, elements come from a callback instead, which must not throw:
// dst[p * ld + l] = element (lane + l, term + p) for l < count, p < k.
template <class T>
struct GemmSource {
  const T* data = nullptr;
  int64_t lane_stride = 0, k_stride = 0;
  void (*pack)(const void* context, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
               int64_t k) = nullptr;
  const void* context = nullptr;
};

// Where C goes. With store, finished blocks (row-major, row stride ld) are handed to a callback.
template <class T>
struct GemmSink {
  T* data = nullptr;
  int64_t row_stride = 0, col_stride = 0;
  void (*store)(const void* context, const T* block, int64_t ld, int64_t row, int64_t rows,
                int64_t col, int64_t cols) = nullptr;
  const void* context = nullptr;
};

template <class T>
struct GemmTable;

// Which of the ways of gemm; any: the first that is worth it. What the others ask of their operands
// is the caller's to check (ops/matmul/ladder.cpp).
enum class GemmWay { any, dot, few_rows, in_place, packed };

template <class T>
struct Gemm {
  const GemmTable<T>* table = nullptr;  // kernels other than those of T, for packed operands
  int64_t m = 0, n = 0, k = 0;
  GemmSource<T> a, b;
  GemmSink<T> c;
  bool accumulate = false;      // C += A B; not with store
  bool b_in_place = false;      // a B whose lanes lie side by side is not packed
  const T* row_bias = nullptr;  // m values, or
  const T* col_bias = nullptr;  // n values added to C; not with accumulate
  GemmWay way = GemmWay::any;
  const ElementOp* then = nullptr;  // what C goes through once it is summed; not with accumulate
};

// C[row : row + rows, col : col + cols] is summed.
template <class T>
void finish(const Gemm<T>& g, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  if (g.then == nullptr) return;
  T* const c = g.c.data + row * g.c.row_stride + col * g.c.col_stride;
  if (g.c.col_stride == 1) return finish(g.then, c, g.c.row_stride, rows, cols);
  if (g.c.row_stride == 1) return finish(g.then, c, g.c.col_stride, cols, rows);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      finish(g.then, c + i * g.c.row_stride + j * g.c.col_stride, 1);
}

// Threads share the blocks of C. False when there is no memory for the packed operands. Instances:
// float and double.
template <class T>
bool gemm(const Gemm<T>& problem);
// The way it takes.
template <class T>
GemmWay gemm_way(Gemm<T> problem);

// Memory of one kernel call.
class Scratch {
 public:
  explicit Scratch(int64_t bytes) : data_(pool_allocate(size_t(bytes))) {}
  ~Scratch() {
    if (data_ != nullptr) pool_free(data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  explicit operator bool() const { return data_ != nullptr; }
  template <class T>
  T* at(int64_t byte) const {
    return reinterpret_cast<T*>(static_cast<char*>(data_) + byte);
  }

 private:
  void* data_;
};

}  // namespace tg

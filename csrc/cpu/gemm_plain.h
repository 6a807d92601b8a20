// Matrix products that are not worth packing: the operands are read where they lie.
#pragma once
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"

namespace tg {

constexpr int64_t kPerThread = int64_t(1) << 19;  // multiply-adds worth waking a thread for
constexpr int64_t kPartsPerThread = 4;

// What the sums of the block of terms from p on are added to, for the element at (row, col).
template <class T>
void addend(const Gemm<T>& g, TileSink<T>* args, int64_t p, int64_t row, int64_t col) {
  args->add = nullptr;
  args->add_row = 0;
  args->add_lanes = true;
  if (p > 0 || g.accumulate) {
    args->add = args->c;
    args->add_row = args->ldc;
  } else if (g.row_bias != nullptr) {
    args->add = g.row_bias + row;
    args->add_row = 1;
    args->add_lanes = false;
  } else if (g.col_bias != nullptr) {
    args->add = g.col_bias + col;
  }
}

// All of these want m, n and k above zero and operands in memory, and return false when there is no
// memory; those below dot_products want c.col_stride == 1. Instances: float and double.

template <class T>
bool is_better_as_dots(const Gemm<T>& g, const GemmTable<T>& t);
// The terms of a column of B are contiguous; m <= n.
template <class T>
bool dot_products(const Gemm<T>& g, const GemmTable<T>& t);

template <class T>
bool is_better_in_place(const Gemm<T>& g);
template <class T>
bool in_place(const Gemm<T>& g, const GemmTable<T>& t);

template <class T>
bool is_better_by_rows(const Gemm<T>& g, const GemmTable<T>& t);
// m <= kFewRows, rows of B contiguous.
template <class T>
bool few_rows(const Gemm<T>& g, const GemmTable<T>& t);

}  // namespace tg

// Products with one B over and over, where packing it each time would cost as much as multiplying.
// Elements of C are the sums that gemm makes of many rows: blocks of kc terms, each a chain in
// order.
#pragma once
#include "core/parts.h"
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"

namespace tg {

// A (rows x k), packed by pack_rows in memory of rows * k elements.
template <class T>
struct PackedRows {
  T* data;
  int64_t rows, k;
};

// Packs the columns [term, term + count) of A from src[i * row_stride + p - term].
template <class T>
void pack_rows(const PackedRows<T>& a, const T* src, int64_t row_stride, int64_t term,
               int64_t count);

// B (k x groups * n): group after group of n columns, each cut into panels of panel() columns.
template <class T>
class PackedB {
 public:
  PackedB(const GemmSource<T>& b, int64_t groups, int64_t n, int64_t k);
  explicit operator bool() const { return bool(memory_); }  // false: there was no memory
  int64_t panel() const { return t_.full; }

  // C (rows x columns of a panel) = A B + add, whose rows are add_row apart; add nullptr: nothing
  // is added; add_row 0: one row for all.
  void multiply(const PackedRows<T>& a, int64_t group, int64_t panel, T* c, int64_t ldc,
                const T* add, int64_t add_row) const;

 private:
  T* at(int64_t group, int64_t panel) const {
    return memory_.template at<T>(offset_bytes()) + (group * panels_ + panel) * k_ * t_.full;
  }
  int64_t terms() const { return std::min<int64_t>(t_.kc, k_); }
  int64_t offset_bytes() const { return bytes_of<int64_t>(terms()); }

  const GemmTable<T>& t_;
  const int64_t n_, k_, panels_;
  const Scratch memory_;  // row offsets within a panel, panels
};

}  // namespace tg

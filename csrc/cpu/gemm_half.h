// Products of numbers stored as float16 or bfloat16. As operands are packed they are widened, or
// paired where the CPU multiplies pairs of bfloat16; C is rounded once, as it is stored.
#pragma once
#include <type_traits>

#include "core/dispatch.h"
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"

namespace tg {

// Calls f with the tag of a type that is computed in float.
template <class F>
void dispatch_single(DType t, F&& f) {
  switch (t) {
    case DType::f16: return f(type_tag<half>{});
    case DType::bf16: return f(type_tag<bfloat16>{});
    default: return f(type_tag<float>{});
  }
}

// How numbers stored as S become elements of a product. Instances: half, bfloat16, float, double.
template <class S>
struct Elements {
  using T = compute_t<S>;
  const GemmTable<T>* table;
  int64_t terms;  // of an element: 2 where the CPU multiplies pairs, else 1

  explicit Elements(bool pairs = true);                               // pairs: where there are any
  int64_t count(int64_t k) const { return (k + terms - 1) / terms; }  // of k terms
  // dst[p * ld + l] = element p of lane l, whose terms lie at src[l * lane_stride + term *
  // k_stride], zero from the k-th on, for l < count.
  void pack(T* dst, int64_t ld, const S* src, int64_t lane_stride, int64_t k_stride, int64_t count,
            int64_t k) const;
};

// An operand of k terms as a source of elements; S is a half type.
template <class S>
struct StoredSource {
  GemmSource<S> at;
  int64_t k;
  Elements<S> elements;

  GemmSource<float> source() const;  // refers to this
};

// C = A B (+ col_bias), operands without pack, C without store, not accumulated; C has contiguous
// rows or columns. False when there is no memory. Instances: half, bfloat16.
template <class S>
bool gemm_half(const Gemm<S>& g, const float* col_bias);

// The same for any S.
template <class S>
bool gemm_stored(Gemm<S> g, const compute_t<S>* col_bias) {
  if constexpr (std::is_same_v<S, compute_t<S>>) {
    g.col_bias = col_bias;
    return gemm(g);
  } else {
    return gemm_half(g, col_bias);
  }
}

}  // namespace tg

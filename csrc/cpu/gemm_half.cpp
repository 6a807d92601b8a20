#include "cpu/gemm_half.h"

#include <algorithm>

#include "core/parts.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kSmall = int64_t(1) << 20;        // multiply-adds: packing would take longer
constexpr int64_t kRowsInPlace = 16;                // so many rows read B where it lies,
constexpr int64_t kFewElements = int64_t(1) << 20;  // for so many elements of C

// Widened blocks are turned over in the first-level cache.
constexpr int64_t kTurnedTerms = 128, kTurnedLanes = 16;

template <class S>
void pack_source(const void* context, float* dst, int64_t ld, int64_t lane, int64_t count,
                 int64_t element, int64_t k) {
  const auto& s = *static_cast<const StoredSource<S>*>(context);
  const int64_t term = element * s.elements.terms;
  s.elements.pack(dst, ld, s.at.data + lane * s.at.lane_stride + term * s.at.k_stride,
                  s.at.lane_stride, s.at.k_stride, count,
                  std::min(k * s.elements.terms, s.k - term));
}

template <class S>
void store(const void* context, const float* block, int64_t ld, int64_t row, int64_t rows,
           int64_t col, int64_t cols) {
  const auto& c = *static_cast<const GemmSink<S>*>(context);
  const auto narrow = half_table(*kernels().gemm, S()).narrow;
  for (int64_t i = 0; i < rows; ++i)
    narrow(c.data + (row + i) * c.row_stride + col, block + i * ld, cols);
}

// Whether pairs of neighbouring terms can be read as they lie.
bool lies_in_pairs(const GemmSource<bfloat16>& s, int64_t k) {
  return s.k_stride == 1 && s.lane_stride % 2 == 0 && k % 2 == 0 &&
         reinterpret_cast<uintptr_t>(s.data) % alignof(float) == 0;
}
bool lies_in_pairs(const GemmSource<half>&, int64_t) { return false; }

// An operand of `lanes` lanes as elements: where it lies, or in memory of its own.
template <class S>
GemmSource<float> prepared(const StoredSource<S>& s, int64_t lanes, float* memory) {
  if (s.elements.terms == 2 && lies_in_pairs(s.at, s.k))
    return {reinterpret_cast<const float*>(s.at.data), s.at.lane_stride / 2, 1};
  s.elements.pack(memory, lanes, s.at.data, s.at.lane_stride, s.at.k_stride, lanes, s.k);
  return {memory, 1, lanes};
}

// Few rows, or next to nothing: the ways of gemm that pack nothing.
template <class S>
bool small(const Gemm<S>& g, const StoredSource<S>& a, const StoredSource<S>& b,
           const float* row_bias, const float* col_bias) {
  const int64_t k = a.elements.count(g.k);
  const int64_t sizes[] = {bytes_of<float>(g.m * k), bytes_of<float>(g.n * k)};
  const bool a_lies = a.elements.terms == 2 && lies_in_pairs(a.at, g.k);
  const bool b_lies = b.elements.terms == 2 && lies_in_pairs(b.at, g.k);
  const int64_t b_at = a_lies ? 0 : sizes[0], c_at = b_at + (b_lies ? 0 : sizes[1]);
  const Scratch scratch(c_at + bytes_of<float>(g.m * g.n));
  if (!scratch) return false;
  Gemm<float> product;
  product.table = a.elements.table;
  product.m = g.m;
  product.n = g.n;
  product.k = k;
  product.a = prepared(a, g.m, scratch.at<float>(0));
  product.b = prepared(b, g.n, scratch.at<float>(b_at));
  product.c = {scratch.at<float>(c_at), g.n, 1};
  product.row_bias = row_bias;
  product.col_bias = col_bias;
  if (!gemm(product)) return false;
  store<S>(&g.c, product.c.data, g.n, 0, g.m, 0, g.n);
  return true;
}

}  // namespace

template <class S>
Elements<S>::Elements(bool pairs) : table(&gemm_table(*kernels().gemm, T())), terms(1) {
  if constexpr (std::is_same_v<S, bfloat16>)
    if (pairs && kernels().gemm->pairs != nullptr) {
      table = &kernels().gemm->pairs->gemm;
      terms = 2;
    }
}

template <class S>
void Elements<S>::pack(T* dst, int64_t ld, const S* src, int64_t lane_stride, int64_t k_stride,
                       int64_t count, int64_t k) const {
  if constexpr (std::is_same_v<S, T>) {
    table->pack(dst, ld, src, lane_stride, k_stride, count, k);
  } else {
    if constexpr (std::is_same_v<S, bfloat16>)
      if (terms == 2)
        return kernels().gemm->pairs->pack(dst, ld, src, lane_stride, k_stride, count, k);
    const auto widen = half_table(*kernels().gemm, S()).widen;
    if (lane_stride == 1) {
      for (int64_t p = 0; p < k; ++p) widen(dst + p * ld, src + p * k_stride, count);
    } else if (k_stride == 1) {
      float block[kTurnedLanes * kTurnedTerms];
      for (int64_t l = 0; l < count; l += kTurnedLanes)
        for (int64_t p = 0; p < k; p += kTurnedTerms) {
          const int64_t lanes = std::min(kTurnedLanes, count - l);
          const int64_t n = std::min(kTurnedTerms, k - p);
          for (int64_t i = 0; i < lanes; ++i)
            widen(block + i * kTurnedTerms, src + (l + i) * lane_stride + p, n);
          table->pack(dst + p * ld + l, ld, block, kTurnedTerms, 1, lanes, n);
        }
    } else {
      for (int64_t p = 0; p < k; ++p)
        for (int64_t l = 0; l < count; ++l)
          dst[p * ld + l] = to_float(src[l * lane_stride + p * k_stride]);
    }
  }
}

template <class S>
GemmSource<float> StoredSource<S>::source() const {
  GemmSource<float> s;
  s.pack = pack_source<S>;
  s.context = this;
  return s;
}

template <class S>
bool gemm_half(const Gemm<S>& given, const float* col_bias) {
  Gemm<S> g = given;
  const float* row_bias = nullptr;
  if (g.n == 1) g.c.col_stride = 1;
  if (g.c.col_stride != 1) {  // C^T = B^T A^T
    std::swap(g.m, g.n);
    std::swap(g.a, g.b);
    std::swap(g.c.row_stride, g.c.col_stride);
    std::swap(row_bias, col_bias);
  }
  const Elements<S> elements;
  const StoredSource<S> a{g.a, g.k, elements}, b{g.b, g.k, elements};
  const double work = double(g.m) * double(g.n) * double(g.k);
  const bool lies = elements.terms == 2 && lies_in_pairs(g.n < g.m ? g.a : g.b, g.k);
  const bool few = lies && std::min(g.m, g.n) <= kRowsInPlace && g.m * g.n <= kFewElements;
  if (few || work <= double(kSmall)) return small(g, a, b, row_bias, col_bias);
  Gemm<float> product;
  product.table = elements.table;
  product.m = g.m;
  product.n = g.n;
  product.k = elements.count(g.k);
  product.a = a.source();
  product.b = b.source();
  product.c.store = store<S>;
  product.c.context = &g.c;
  product.row_bias = row_bias;
  product.col_bias = col_bias;
  return gemm(product);
}

template struct Elements<half>;
template struct Elements<bfloat16>;
template struct Elements<float>;
template struct Elements<double>;
template struct StoredSource<half>;
template struct StoredSource<bfloat16>;
template bool gemm_half(const Gemm<half>&, const float*);
template bool gemm_half(const Gemm<bfloat16>&, const float*);

}  // namespace tg

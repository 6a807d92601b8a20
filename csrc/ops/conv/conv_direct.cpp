// Convolution without a column matrix: the source is lowered along one axis and correlated in
// place.
#include <algorithm>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/correlate.h"
#include "ops/conv/weight_grad.h"

namespace tg {
namespace {

// The weight, row-major, its axis of so many source channels in pairs if wanted: `outer` times, in
// memory for so many elements.
template <class T>
const T* weight_values(const View& w, bool pairs, int64_t outer, int64_t channels, T* memory) {
  if constexpr (std::is_same_v<T, float>)
    if (pairs) {
      paired_values(w, outer, channels, memory);
      return memory;
    }
  return row_major_values(w, memory);
}

template <class T>
bool forward(const ConvParams& p, const View* v) {
  const View &y = v[0], &x = v[1], &w = v[2], &bias = v[3];
  const bool has_bias = bias.data != nullptr, pairs = sums_pairs(p);
  const int64_t weights = is_row_major<T>(w) ? 0 : bytes_of<T>(w.size());
  const Scratch scratch(weights + (has_bias ? bytes_of<T>(bias.size()) : 0));
  if (!scratch) return false;
  Correlation<T> c;
  c.n = p.n;
  c.groups = p.groups;
  c.src_channels = pairs ? ceil_div(p.c, 2) : p.c;
  c.dst_channels = p.o;
  for (int i = 0; i < 3; ++i) c.taps[i] = taps_of(p, i);
  c.src = {x, pairs ? Source::channels : Source::none};
  c.dst = y;
  c.w = weight_values(w, pairs, p.groups * p.o, p.c, scratch.at<T>(0));
  c.w_src = p.taps();
  c.w_dst = c.src_channels * p.taps();
  c.w_group = p.o * c.w_dst;
  for (int64_t t = 0; t < p.taps(); ++t) c.w_tap.push_back(t);
  c.then = p.then_of_y();
  if (has_bias) c.bias = row_major_values(bias, scratch.at<T>(weights));
  return correlate(c);
}

// Input coordinates i with (i + before) mod stride = residue read the taps with
// (tap * dilation) mod stride = residue, at output (i + before - tap * dilation) / stride: one
// correlation with stride 1 per residue, and every input is written once.
struct Residue {
  int64_t first, count;  // input coordinates first + p * stride
  std::vector<int64_t> tap, at;
};
std::vector<Residue> residues_of(const ConvParams& p, int axis) {
  const int64_t stride = p.stride[axis], before = p.before[axis], in = p.in[axis];
  std::vector<Residue> all;
  for (int64_t r = 0; r < std::min(stride, in); ++r) {
    Residue c;
    c.first = r;
    c.count = (in - r - 1) / stride + 1;
    for (int64_t t = 0; t < p.kernel[axis]; ++t) {
      const int64_t numerator = r + before - t * p.dilation[axis];
      if (numerator % stride != 0) continue;
      c.tap.push_back(t);
      c.at.push_back(numerator / stride);
    }
    all.push_back(c);
  }
  return all;
}

template <class T>
void clear_view(const View& v) {
  dispatch_float("conv", v.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const S zero = compute<S>::store(compute_t<S>(0));
    for (int64_t i = 0; i < v.size(); ++i) v.ptr<S>()[i] = zero;  // fresh, so without gaps
  });
}

template <class T>
bool grad_input(const ConvParams& p, const View* v) {
  const View &gx = v[0], &g = v[1], &w = v[2];
  // With strides only some taps are read at a time: they come first, [group][tap][o][c].
  const bool strided = p.stride[0] > 1 || p.stride[1] > 1 || p.stride[2] > 1;
  const bool pairs = sums_pairs(p);
  const int64_t channels = pairs ? ceil_div(p.o, 2) : p.o;
  const int64_t bytes = bytes_of<T>(p.groups * channels * p.c * p.taps());
  const Scratch scratch(is_row_major<T>(w) ? 0 : bytes), taps_first(strided ? bytes : 0);
  if (!scratch || !taps_first) return false;
  Correlation<T> c;
  c.n = p.n;
  c.groups = p.groups;
  c.src_channels = channels;
  c.dst_channels = p.c;
  c.src = {g, pairs ? Source::channels : Source::none};
  c.w = weight_values(w, pairs, p.groups, p.o, scratch.at<T>(0));
  c.w_dst = p.taps();
  c.w_src = p.c * p.taps();
  c.w_group = channels * c.w_src;
  const int64_t w_tap = strided ? channels * p.c : 1;
  if (strided) {
    const auto pack = gemm_table(*kernels().gemm, T()).pack;
    T* const to = taps_first.at<T>(0);
    parallel_for(p.groups * channels, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        pack(to + i / channels * c.w_group + i % channels * p.c, w_tap, c.w + i * c.w_src, p.taps(),
             1, p.c, p.taps());
    });
    c.w = to;
    c.w_dst = 1;
    c.w_src = p.c;
  }
  const std::vector<Residue> all[3] = {residues_of(p, 0), residues_of(p, 1), residues_of(p, 2)};
  bool gaps = false;  // inputs that no tap reads
  for (const auto& axis : all)
    for (const Residue& r : axis) gaps = gaps || r.tap.empty();
  if (gaps) clear_view<T>(gx);
  for (const Residue& z : all[0])
    for (const Residue& y : all[1])
      for (const Residue& x : all[2]) {
        if (z.tap.empty() || y.tap.empty() || x.tap.empty()) continue;
        const Residue* r[3] = {&z, &y, &x};
        c.dst = gx;
        for (int i = 0; i < 3; ++i) {
          c.taps[i] = {r[i]->count, 1, p.out[i], r[i]->tap, r[i]->at};
          c.dst.data += r[i]->first * gx.strides[2 + i];
          c.dst.shape[2 + i] = r[i]->count;
          c.dst.strides[2 + i] *= p.stride[i];
        }
        c.w_tap.clear();
        for (int64_t a : z.tap)
          for (int64_t b : y.tap)
            for (int64_t d : x.tap)
              c.w_tap.push_back(((a * p.kernel[1] + b) * p.kernel[2] + d) * w_tap);
        if (!correlate(c)) return false;
      }
  return true;
}

template <class T>
bool run(const ConvParams& p, const View* v) {
  switch (p.op) {
    case ConvOp::forward: return forward<T>(p, v);
    case ConvOp::grad_input: return grad_input<T>(p, v);
    default: return weight_grad<T>(p, v);
  }
}

}  // namespace

bool sums_pairs(const ConvParams& p) {
  if (p.dtype != DType::bf16 || kernels().gemm->pairs == nullptr) return false;
  if (p.op == ConvOp::grad_weight) return p.n > 1;
  const int64_t channels = p.op == ConvOp::forward ? p.c : p.o;
  return channels > 1 && (p.groups == 1 || channels % 2 == 0);
}

bool conv_direct(const ConvParams& p, const View* v) {
  return v[0].dtype == DType::f64 ? run<double>(p, v) : run<float>(p, v);
}

}  // namespace tg

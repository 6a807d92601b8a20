// Small convolutions: the patch under every output is a row of a matrix, and the rest is one
// product per image. Nothing is prepared that a few thousand multiply-adds would not pay for.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"

namespace tg {
namespace {

constexpr double kPerThread = 1 << 19;  // multiply-adds worth waking a thread for

// The positions of an image as one axis: their step in elements, or 0 where they have none.
int64_t step_of(const View& v) {
  const int64_t item = itemsize(v.dtype);
  int64_t step = 0, expected = 0;
  for (int i = 4; i > 1; --i) {
    if (v.shape[i] == 1) continue;
    if (step == 0)
      step = v.strides[i];
    else if (v.strides[i] != expected)
      return 0;
    expected = v.strides[i] * v.shape[i];
  }
  if (step == 0) return 1;
  return step > 0 && step % item == 0 ? step / item : 0;
}

// Calls f(taps, image) for every run of taps along x of every patch of image n that has any inside:
// taps points into the matrix of patches, image to the element under the first of them.
template <class T, class F>
void each_run(const ConvParams& p, const View& image, int64_t n, int64_t group, T* patches, F&& f) {
  const int64_t kx = p.kernel[2], dx = p.dilation[2];
  const char* base = image.data + n * image.strides[0] + group * p.c * image.strides[1];
  for (int64_t z = 0; z < p.out[0]; ++z)
    for (int64_t y = 0; y < p.out[1]; ++y)
      for (int64_t x = 0; x < p.out[2]; ++x, patches += p.c * p.taps()) {
        const int64_t x0 = x * p.stride[2] - p.before[2];
        const int64_t first = x0 >= 0 ? 0 : ceil_div(-x0, dx);
        const int64_t last = std::min(kx, x0 < p.in[2] ? (p.in[2] - 1 - x0) / dx + 1 : 0);
        if (first >= last) continue;
        T* taps = patches;
        for (int64_t c = 0; c < p.c; ++c)
          for (int64_t i = 0; i < p.kernel[0]; ++i) {
            const int64_t at_z = z * p.stride[0] + tap_at(p, 0, i);
            for (int64_t j = 0; j < p.kernel[1]; ++j, taps += kx) {
              const int64_t at_y = y * p.stride[1] + tap_at(p, 1, j);
              if (at_z < 0 || at_z >= p.in[0] || at_y < 0 || at_y >= p.in[1]) continue;
              const char* from = base + c * image.strides[1] + at_z * image.strides[2] +
                                 at_y * image.strides[3] + (x0 + first * dx) * image.strides[4];
              f(taps + first, reinterpret_cast<T*>(const_cast<char*>(from)), last - first);
            }
          }
      }
}

template <class T>
void lower(const ConvParams& p, const View& x, int64_t n, int64_t group, T* patches) {
  const int64_t size = p.pixels() * p.c * p.taps();
  bool inside = true;
  for (int i = 0; i < 3; ++i)
    inside = inside && p.before[i] <= 0 &&
             (p.out[i] - 1) * p.stride[i] + tap_at(p, i, p.kernel[i] - 1) < p.in[i];
  if (!inside) std::fill(patches, patches + size, T(0));
  const int64_t step = p.dilation[2] * x.strides[4] / int64_t(sizeof(T));
  // What lies behind the image is never read, so only patches inside are whole runs of kernel[2].
  if (step == 1 && p.kernel[2] == 5)
    each_run(p, x, n, group, patches, [](T* to, const T* from, int64_t count) {
      if (count == 5)
        for (int i = 0; i < 5; ++i) to[i] = from[i];
      else
        for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    });
  else
    each_run(p, x, n, group, patches, [step](T* to, const T* from, int64_t count) {
      for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
    });
}

// Whether the rows of the gradient of the input are sums of rows of the matrix of patches.
bool folds_rows(const ConvParams& p, const View& gx) {
  return p.stride[2] == 1 && p.dilation[2] == 1 && gx.strides[4] == itemsize(gx.dtype);
}

// gx of one image and group from the matrix of patches, turned over: [term][position].
template <class T>
void fold_rows(const ConvParams& p, const View& gx, int64_t n, int64_t group, const T* patches,
               int64_t* offset) {
  int64_t* const first = offset + p.taps();
  FoldRows<T> f;
  f.width = p.in[2];
  f.count = p.out[2];
  f.offset = offset;
  f.first = first;
  const auto fold = gemm_table(*kernels().gemm, T()).fold_rows;
  for (int64_t z = 0; z < p.in[0]; ++z)
    for (int64_t y = 0; y < p.in[1]; ++y) {
      f.k = 0;
      for (int64_t i = 0; i < p.kernel[0]; ++i)
        for (int64_t j = 0; j < p.kernel[1]; ++j) {
          const int64_t at_z = z - tap_at(p, 0, i), at_y = y - tap_at(p, 1, j);
          if (at_z < 0 || at_z % p.stride[0] != 0 || at_z / p.stride[0] >= p.out[0]) continue;
          if (at_y < 0 || at_y % p.stride[1] != 0 || at_y / p.stride[1] >= p.out[1]) continue;
          const int64_t row = at_z / p.stride[0] * p.out[1] + at_y / p.stride[1];
          for (int64_t k = 0; k < p.kernel[2]; ++k, ++f.k) {
            const int64_t tap = (i * p.kernel[1] + j) * p.kernel[2] + k;
            offset[f.k] = tap * p.pixels() + row * p.out[2];
            first[f.k] = tap_at(p, 2, k);
          }
        }
      for (int64_t c = 0; c < p.c; ++c) {
        f.src = patches + c * p.taps() * p.pixels();
        f.to =
            reinterpret_cast<T*>(gx.data + n * gx.strides[0] + (group * p.c + c) * gx.strides[1] +
                                 z * gx.strides[2] + y * gx.strides[3]);
        fold(f);
      }
    }
}

// One image of one group.
template <class T>
bool compute_image(const ConvParams& p, const View* v, int64_t n, int64_t group, T* patches,
                   int64_t* offsets) {
  const int64_t terms = p.c * p.taps(), pixels = p.pixels();
  const bool forward = p.op == ConvOp::forward, weight = p.op == ConvOp::grad_weight;
  const View& y = v[forward ? 0 : 1];
  const View& w = v[weight ? 0 : 2];
  const int64_t step = step_of(y), row = y.strides[1] / int64_t(sizeof(T));
  T* const image = reinterpret_cast<T*>(y.data + n * y.strides[0]) + group * p.o * row;
  T* const kernel = w.ptr<T>() + group * p.o * terms;
  Gemm<T> g;
  if (forward) {
    lower(p, v[1], n, group, patches);
    g.m = p.o;
    g.n = pixels;
    g.k = terms;
    g.a = {kernel, terms, 1};
    g.b = {patches, terms, 1};
    g.c = {image, row, step};
    g.then = p.then_of_y();
    if (v[3].data != nullptr) g.row_bias = v[3].ptr<T>() + group * p.o;
    return gemm(g);
  }
  if (weight) {
    lower(p, v[2], n, group, patches);
    g.m = p.o;
    g.n = terms;
    g.k = pixels;
    g.a = {image, row, step};
    g.b = {patches, 1, terms};
    g.c = {kernel, terms, 1};
    g.accumulate = n > 0;
    return gemm(g);
  }
  g.k = p.o;
  if (folds_rows(p, v[0])) {
    g.m = terms;
    g.n = pixels;
    g.a = {kernel, 1, terms};
    g.b = {image, step, row};
    g.c = {patches, pixels, 1};
    if (!gemm(g)) return false;
    fold_rows(p, v[0], n, group, patches, offsets);
    return true;
  }
  g.m = pixels;
  g.n = terms;
  g.a = {image, step, row};
  g.b = {kernel, 1, terms};
  g.c = {patches, terms, 1};
  if (!gemm(g)) return false;
  const int64_t apart = p.dilation[2] * v[0].strides[4] / int64_t(sizeof(T));
  each_run(p, v[0], n, group, patches, [apart](const T* from, T* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i * apart] += from[i];
  });
  return true;
}

template <class T>
bool compute_patches(const ConvParams& p, const View* v) {
  const int64_t images = p.n * p.groups, matrix = bytes_of<T>(times(p.c * p.taps(), p.pixels()));
  if (p.op == ConvOp::grad_input && !folds_rows(p, v[0]))  // fresh, so without gaps
    std::memset(v[0].data, 0, size_t(v[0].size()) * sizeof(T));
  // Sums of weights go through the images in order.
  const bool apart = p.op != ConvOp::grad_weight;
  const double work = p.flops() / 2 / double(images);
  const int64_t grain = apart ? int64_t(kPerThread / (work + 1)) + 1 : images;
  std::atomic<bool> ok{true};
  const auto some = [&](int64_t begin, int64_t end) {
    const Scratch memory(matrix + bytes_of<int64_t>(2 * p.taps()));
    bool done = bool(memory);
    for (int64_t i = begin; done && i < end; ++i)
      done = compute_image(p, v, i / p.groups, i % p.groups, memory.template at<T>(0),
                           memory.template at<int64_t>(matrix));
    if (!done) ok.store(false, std::memory_order_relaxed);
  };
  if (apart && images > 1)
    parallel_for(images, grain, some);
  else
    some(0, images);
  return ok.load();
}

}  // namespace

bool is_patches(const ConvParams& p, const View* v) {
  const DType t = v[0].dtype;
  const View& y = v[p.op == ConvOp::forward ? 0 : 1];
  const View& x = v[p.op == ConvOp::grad_input ? 0 : p.op == ConvOp::forward ? 1 : 2];
  const bool bias = v[3].data == nullptr || v[3].strides[0] == itemsize(t) || v[3].shape[0] == 1;
  return (t == DType::f32 || t == DType::f64) && bias && step_of(y) > 0 && y.strides[1] >= 0 &&
         v[p.op == ConvOp::grad_weight ? 0 : 2].row_major() && x.strides[4] > 0;
}

bool conv_patches(const ConvParams& p, const View* v) {
  return v[0].dtype == DType::f32 ? compute_patches<float>(p, v) : compute_patches<double>(p, v);
}

}  // namespace tg

// Convolutions that are matrix products: kernels of one tap, and small outputs.
#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "cpu/gemm.h"
#include "cpu/gemm_parts.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"

namespace tg {
namespace {

// (n, c, positions) with one stride per axis, in elements.
template <class T>
struct Flat {
  T* data;
  int64_t image, channel, position;
};

// The stride between positions in bytes where the spatial axes are one axis; else false.
bool flat_positions(const View& v, int64_t* stride) {
  *stride = itemsize(v.dtype);
  int64_t expected = 0;
  for (int i = 4; i >= 2; --i) {
    if (v.shape[i] == 1) continue;
    if (expected == 0)
      *stride = v.strides[i];
    else if (v.strides[i] != expected)
      return false;
    expected = v.strides[i] * v.shape[i];
  }
  return true;
}

template <class T>
Flat<T> flat(const View& v) {
  int64_t position;
  flat_positions(v, &position);
  const int64_t item = sizeof(T);
  return {v.ptr<T>(), v.strides[0] / item, v.strides[1] / item, position / item};
}

// Terms that run over the positions of one image after another.
template <class T>
struct ImageTerms {
  const T* data;
  int64_t lane_stride, position_stride, image_stride, positions;
  const GemmTable<T>* table;
};
template <class T>
void pack_images(const void* context, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
                 int64_t k) {
  const auto& s = *static_cast<const ImageTerms<T>*>(context);
  for (int64_t done = 0, part; done < k; done += part) {
    const int64_t image = (term + done) / s.positions, position = (term + done) % s.positions;
    part = std::min(k - done, s.positions - position);
    s.table->pack(
        dst + done * ld, ld,
        s.data + lane * s.lane_stride + image * s.image_stride + position * s.position_stride,
        s.lane_stride, s.position_stride, count, part);
  }
}

// dst = W src or W^T src at every position, image by image or all at once where images follow each
// other. w (rows of dst, channels of src) has the given strides.
template <class T>
bool map_channels(const ConvParams& p, const Flat<T>& dst, int64_t rows, const Flat<T>& src,
                  int64_t terms, const Flat<T>& w, int64_t w_row, int64_t w_term, int64_t w_group,
                  const T* bias) {
  const int64_t pixels = p.pixels();
  const bool together =
      p.n == 1 || (src.image == pixels * src.position && dst.image == pixels * dst.position);
  const int64_t images = together ? 1 : p.n, count = images * p.groups;
  std::atomic<bool> ok{true};
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / p.groups, group = i % p.groups;
      Gemm<T> g;
      g.m = rows;
      g.n = together ? p.n * pixels : pixels;
      g.k = terms;
      g.a = {w.data + group * w_group, w_row, w_term};
      g.b = {src.data + n * src.image + group * terms * src.channel, src.position, src.channel};
      g.c = {dst.data + n * dst.image + group * rows * dst.channel, dst.channel, dst.position};
      if (bias != nullptr) g.row_bias = bias + group * rows;
      if (!gemm(g)) ok.store(false);
    }
  };
  if (count >= 2 * num_threads())  // products share the threads, or each is shared by them
    parallel_for(count, 1, some);
  else
    some(0, count);
  return ok.load();
}

template <class T>
bool pointwise(const ConvParams& p, const View* v) {
  const Flat<T> a = flat<T>(v[0]), b = flat<T>(v[1]), c = flat<T>(v[2]);
  if (p.op == ConvOp::grad_weight) {
    const GemmTable<T>& table = gemm_table(*kernels().gemm, T());
    for (int64_t group = 0; group < p.groups; ++group) {
      const ImageTerms<T> g{
          b.data + group * p.o * b.channel, b.channel, b.position, b.image, p.pixels(), &table};
      const ImageTerms<T> x{
          c.data + group * p.c * c.channel, c.channel, c.position, c.image, p.pixels(), &table};
      Gemm<T> product;
      product.m = p.o;
      product.n = p.c;
      product.k = p.n * p.pixels();
      product.a.pack = product.b.pack = pack_images<T>;
      product.a.context = &g;
      product.b.context = &x;
      product.c = {a.data + group * p.o * a.image, a.image, a.channel};
      if (!gemm(product)) return false;
    }
    return true;
  }
  if (p.op == ConvOp::grad_input)
    return map_channels<T>(p, a, p.c, b, p.o, c, c.channel, c.image, p.o * c.image, nullptr);
  const View& bias = v[3];
  const int64_t values = bias.data == nullptr ? 0 : bias.shape[0];
  const Scratch scratch(values * int64_t(sizeof(T)));
  if (!scratch) return false;
  for (int64_t i = 0; i < values; ++i)
    scratch.at<T>(0)[i] = *reinterpret_cast<const T*>(bias.data + i * bias.strides[0]);
  return map_channels<T>(p, a, p.o, b, p.c, c, c.image, c.channel, p.o * c.image,
                         values == 0 ? nullptr : scratch.at<T>(0));
}

// Whether every image lies row-major.
bool images_row_major(const View& v) {
  View image = v;
  image.shape[0] = 1;
  return image.row_major();
}

// The kernel covers the input: an image is a row of c * taps terms.
template <class T>
bool covering(const ConvParams& p, const View* v) {
  const int64_t terms = p.c * p.taps(), item = sizeof(T);
  const auto image = [&](const View& x) { return x.strides[0] / item; };
  const auto channel = [&](const View& x) { return x.strides[1] / item; };
  const Scratch scratch(p.groups * p.o * item);
  if (!scratch) return false;
  for (int64_t group = 0; group < p.groups; ++group) {
    Gemm<T> m;
    if (p.op == ConvOp::grad_weight) {
      const View &gw = v[0], &g = v[1], &x = v[2];
      m.m = p.o;
      m.n = terms;
      m.k = p.n;
      m.a = {g.ptr<T>() + group * p.o * channel(g), channel(g), image(g)};
      m.b = {x.ptr<T>() + group * terms, 1, image(x)};
      m.c = {gw.ptr<T>() + group * p.o * terms, terms, 1};
    } else if (p.op == ConvOp::grad_input) {
      const View &gx = v[0], &g = v[1], &w = v[2];
      m.m = p.n;
      m.n = terms;
      m.k = p.o;
      m.a = {g.ptr<T>() + group * p.o * channel(g), image(g), channel(g)};
      m.b = {w.ptr<T>() + group * p.o * image(w), 1, image(w)};
      m.c = {gx.ptr<T>() + group * terms, image(gx), 1};
    } else {
      const View &y = v[0], &x = v[1], &w = v[2], &bias = v[3];
      m.m = p.n;
      m.n = p.o;
      m.k = terms;
      m.a = {x.ptr<T>() + group * terms, image(x), 1};
      m.b = {w.ptr<T>() + group * p.o * image(w), image(w), 1};
      m.c = {y.ptr<T>() + group * p.o * channel(y), image(y), channel(y)};
      if (bias.data != nullptr) {
        T* const values = scratch.at<T>(0);
        for (int64_t i = 0; i < p.o; ++i)
          values[i] = *reinterpret_cast<const T*>(bias.data + (group * p.o + i) * bias.strides[0]);
        m.col_bias = values;
      }
    }
    if (!gemm(m)) return false;
  }
  return true;
}

}  // namespace

bool is_covering(const ConvParams& p, const View* v) {
  if (is_half(v[0].dtype) || p.pixels() != 1) return false;
  for (int i = 0; i < 3; ++i)
    if (p.before[i] != 0 || p.in[i] != p.kernel[i] || (p.dilation[i] != 1 && p.kernel[i] != 1))
      return false;
  switch (p.op) {
    case ConvOp::forward: return images_row_major(v[1]) && images_row_major(v[2]);
    case ConvOp::grad_input: return images_row_major(v[0]) && images_row_major(v[2]);
    default: return images_row_major(v[2]);
  }
}

bool conv_covering(const ConvParams& p, const View* v) {
  return v[0].dtype == DType::f64 ? covering<double>(p, v) : covering<float>(p, v);
}

bool conv_pointwise(const ConvParams& p, const View* v) {
  return v[0].dtype == DType::f64 ? pointwise<double>(p, v) : pointwise<float>(p, v);
}

bool is_pointwise(const ConvParams& p, const View* v) {
  if (p.taps() != 1 || is_half(v[0].dtype)) return false;
  for (int i = 0; i < 3; ++i)
    if (p.stride[i] != 1 || p.before[i] != 0 || p.in[i] != p.out[i]) return false;
  if (p.op == ConvOp::grad_weight && (p.o < 32 || p.c < 32)) return false;
  int64_t stride;
  return flat_positions(v[0], &stride) && flat_positions(v[1], &stride) &&
         flat_positions(v[2], &stride);
}

}  // namespace tg

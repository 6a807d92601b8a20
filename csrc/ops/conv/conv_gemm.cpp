// Convolutions that are matrix products: kernels of one tap, and small outputs.
#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"

namespace tg {
namespace {

constexpr int64_t kLargeImage = 512;  // positions that are worth packing,
constexpr int64_t kPagePitch = 2048;  // where channels a multiple of this apart share cache sets
constexpr int64_t kSmallImage = 256;  // positions; products of fewer columns lack room

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

// Positions of one image after another, as the terms or the lanes of a product.
template <class T>
struct Images {
  Flat<T> at;
  int64_t positions;
  const GemmTable<T>* table;

  // Calls f(address, how many before, how many) for [first, first + count), image by image.
  template <class F>
  void each(int64_t first, int64_t count, F&& f) const {
    for (int64_t done = 0, part; done < count; done += part) {
      const int64_t image = (first + done) / positions, position = (first + done) % positions;
      part = std::min(count - done, positions - position);
      f(at.data + image * at.image + position * at.position, done, part);
    }
  }
};
template <class T>
void pack_terms(const void* context, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
                int64_t k) {
  const auto& s = *static_cast<const Images<T>*>(context);
  s.each(term, k, [&](const T* from, int64_t done, int64_t part) {
    s.table->pack(dst + done * ld, ld, from + lane * s.at.channel, s.at.channel, s.at.position,
                  count, part);
  });
}
template <class T>
void pack_lanes(const void* context, T* dst, int64_t ld, int64_t lane, int64_t count, int64_t term,
                int64_t k) {
  const auto& s = *static_cast<const Images<T>*>(context);
  s.each(lane, count, [&](const T* from, int64_t done, int64_t part) {
    s.table->pack(dst + done, ld, from + term * s.at.channel, s.at.position, s.at.channel, part, k);
  });
}
template <class T>
void store_lanes(const void* context, const T* block, int64_t ld, int64_t row, int64_t rows,
                 int64_t col, int64_t cols) {
  const auto& s = *static_cast<const Images<T>*>(context);
  s.each(col, cols, [&](T* to, int64_t done, int64_t part) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < part; ++i)
        to[(row + r) * s.at.channel + i * s.at.position] = block[r * ld + done + i];
  });
}

// dst = W src or W^T src at every position, image by image or all at once where images follow each
// other or are small. w (rows of dst, channels of src) has the given strides.
template <class T>
bool map_channels(const ConvParams& p, const Flat<T>& dst, int64_t rows, const Flat<T>& src,
                  int64_t terms, const Flat<T>& w, int64_t w_row, int64_t w_term, int64_t w_group,
                  const T* bias) {
  const int64_t pixels = p.pixels();
  const bool together =
      p.n == 1 || (src.image == pixels * src.position && dst.image == pixels * dst.position);
  const bool small = !together && pixels < kSmallImage;
  const int64_t images = together || small ? 1 : p.n, count = images * p.groups;
  const GemmTable<T>& table = gemm_table(*kernels().gemm, T());
  std::atomic<bool> ok{true};
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / p.groups, group = i % p.groups;
      Gemm<T> g;
      g.m = rows;
      g.n = images == 1 ? p.n * pixels : pixels;
      g.k = terms;
      g.a = {w.data + group * w_group, w_row, w_term};
      g.b = {src.data + n * src.image + group * terms * src.channel, src.position, src.channel};
      g.c = {dst.data + n * dst.image + group * rows * dst.channel, dst.channel, dst.position};
      const Images<T> from{{src.data + n * src.image + group * terms * src.channel, src.image,
                            src.channel, src.position},
                           pixels,
                           &table};
      const Images<T> to{{g.c.data, dst.image, dst.channel, dst.position}, pixels, &table};
      const bool apart = src.channel * int64_t(sizeof(T)) % kPagePitch != 0;
      g.b_in_place = src.position == 1 && apart;
      if (small ||
          (src.position == 1 && !apart && rows > 2 * table.rows && pixels >= kLargeImage)) {
        g.b.pack = pack_lanes<T>;
        g.b.context = &from;
      }
      if (small) {
        g.c.store = store_lanes<T>;
        g.c.context = &to;
      }
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

// Whether a kernel of one tap reads only some of the positions.
bool is_strided(const ConvParams& p) {
  return p.stride[0] > 1 || p.stride[1] > 1 || p.stride[2] > 1;
}

// Images without what the strides leave out, and back, with zeros there.
template <class T>
void take_positions(const ConvParams& p, const View& v, T* to) {
  const GemmTable<T>& table = gemm_table(*kernels().gemm, T());
  const int64_t item = sizeof(T), rows = p.out[1], width = p.out[2], channels = v.shape[1];
  parallel_for(p.n * channels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const char* plane = v.data + i / channels * v.strides[0] + i % channels * v.strides[1];
      for (int64_t z = 0; z < p.out[0]; ++z)
        table.copy_rows({to + i * p.pixels() + z * rows * width, width,
                         reinterpret_cast<const T*>(plane + z * p.stride[0] * v.strides[2]),
                         p.stride[1] * v.strides[3] / item, p.stride[2] * v.strides[4] / item, rows,
                         0, width, 0});
    }
  });
}
template <class T>
void put_positions(const ConvParams& p, const T* from, const View& v) {
  const int64_t item = sizeof(T), channels = v.shape[1];
  const int64_t step = p.stride[2] * v.strides[4] / item;
  parallel_for(p.n * channels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* plane = v.data + i / channels * v.strides[0] + i % channels * v.strides[1];
      const T* row = from + i * p.pixels();
      for (int64_t z = 0; z < p.in[0]; ++z)
        for (int64_t y = 0; y < p.in[1]; ++y) {
          T* to = reinterpret_cast<T*>(plane + z * v.strides[2] + y * v.strides[3]);
          fill_zero(to, p.in[2]);
          if (z % p.stride[0] != 0 || y % p.stride[1] != 0 || z / p.stride[0] >= p.out[0] ||
              y / p.stride[1] >= p.out[1])
            continue;
          for (int64_t x = 0; x < p.out[2]; ++x) to[x * step] = row[x];
          row += p.out[2];
        }
    }
  });
}

template <class T>
bool pointwise(const ConvParams& p, const View* v) {
  // The operand with the positions of the input: x, gx or x.
  const int strided = !is_strided(p)               ? -1
                      : p.op == ConvOp::forward    ? 1
                      : p.op == ConvOp::grad_input ? 0
                                                   : 2;
  const int64_t channels = p.c * p.groups, pixels = p.pixels();
  const Scratch taken(strided < 0 ? 0 : bytes_of<T>(times(p.n * channels, pixels)));
  if (!taken) return false;
  const auto at = [&](int i) {
    return i == strided ? Flat<T>{taken.at<T>(0), channels * pixels, pixels, 1} : flat<T>(v[i]);
  };
  if (strided > 0) take_positions(p, v[strided], taken.at<T>(0));
  const Flat<T> a = at(0), b = at(1), c = at(2);
  if (p.op == ConvOp::grad_weight) {
    const GemmTable<T>& table = gemm_table(*kernels().gemm, T());
    for (int64_t group = 0; group < p.groups; ++group) {
      const Images<T> g{
          {b.data + group * p.o * b.channel, b.image, b.channel, b.position}, pixels, &table};
      const Images<T> x{
          {c.data + group * p.c * c.channel, c.image, c.channel, c.position}, pixels, &table};
      Gemm<T> product;
      product.m = p.o;
      product.n = p.c;
      product.k = p.n * pixels;
      product.a.pack = product.b.pack = pack_terms<T>;
      product.a.context = &g;
      product.b.context = &x;
      product.c = {a.data + group * p.o * a.image, a.image, a.channel};
      if (!gemm(product)) return false;
    }
    return true;
  }
  if (p.op == ConvOp::grad_input) {
    if (!map_channels<T>(p, a, p.c, b, p.o, c, c.channel, c.image, p.o * c.image, nullptr))
      return false;
    if (strided == 0) put_positions(p, taken.at<T>(0), v[0]);
    return true;
  }
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
    if (p.before[i] != 0 || (p.out[i] - 1) * p.stride[i] >= p.in[i] ||
        (p.stride[i] == 1 && p.in[i] != p.out[i]))
      return false;
  if (p.op == ConvOp::grad_weight && (p.o < 32 || p.c < 32)) return false;
  const int strided = p.op == ConvOp::forward ? 1 : p.op == ConvOp::grad_input ? 0 : 2;
  for (int i = 0; i < 3; ++i) {
    int64_t stride;
    if (i == strided && is_strided(p) ? v[i].strides[4] != itemsize(v[i].dtype)
                                      : !flat_positions(v[i], &stride))
      return false;
  }
  return true;
}

}  // namespace tg

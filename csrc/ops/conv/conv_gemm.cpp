// Convolutions that are matrix products: kernels of one tap, and small outputs.
#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/gemm_half.h"
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

// Value i of a vector.
template <class S>
compute_t<S> value_of(const View& v, int64_t i) {
  return compute<S>::load(*reinterpret_cast<const S*>(v.data + i * v.strides[0]));
}

// Positions of one image after another, as the terms or the lanes of a product.
template <class S>
struct Images {
  Flat<S> at;
  int64_t positions, channels;
  Elements<S> elements;

  // Calls f(image, first position, how many before, how many) for [first, first + count), image by
  // image, of each of which there are `size`.
  template <class F>
  void each(int64_t first, int64_t count, int64_t size, F&& f) const {
    for (int64_t done = 0, part; done < count; done += part) {
      const int64_t image = (first + done) / size, position = (first + done) % size;
      part = std::min(count - done, size - position);
      f(at.data + image * at.image, position, done, part);
    }
  }
};
// Terms are positions, whose elements belong to one image each.
template <class S>
void pack_terms(const void* context, compute_t<S>* dst, int64_t ld, int64_t lane, int64_t count,
                int64_t element, int64_t k) {
  const auto& s = *static_cast<const Images<S>*>(context);
  s.each(element, k, s.elements.count(s.positions),
         [&](const S* image, int64_t first, int64_t done, int64_t part) {
           const int64_t position = first * s.elements.terms;
           s.elements.pack(dst + done * ld, ld,
                           image + position * s.at.position + lane * s.at.channel, s.at.channel,
                           s.at.position, count,
                           std::min(part * s.elements.terms, s.positions - position));
         });
}
template <class S>
void pack_lanes(const void* context, compute_t<S>* dst, int64_t ld, int64_t lane, int64_t count,
                int64_t element, int64_t k) {
  const auto& s = *static_cast<const Images<S>*>(context);
  const int64_t term = element * s.elements.terms;
  s.each(lane, count, s.positions, [&](const S* image, int64_t first, int64_t done, int64_t part) {
    s.elements.pack(dst + done, ld, image + first * s.at.position + term * s.at.channel,
                    s.at.position, s.at.channel, part,
                    std::min(k * s.elements.terms, s.channels - term));
  });
}
// n values, rounded to half types.
template <class S>
void copy_values(S* to, int64_t step, const compute_t<S>* from, int64_t n) {
  if constexpr (sizeof(S) == 2)
    if (step == 1) return half_table(*kernels().gemm, S()).narrow(to, from, n);
  for (int64_t i = 0; i < n; ++i) to[i * step] = compute<S>::store(from[i]);
}
// Rows of C are channels.
template <class S>
void store_lanes(const void* context, const compute_t<S>* block, int64_t ld, int64_t row,
                 int64_t rows, int64_t col, int64_t cols) {
  const auto& s = *static_cast<const Images<S>*>(context);
  s.each(col, cols, s.positions, [&](S* image, int64_t first, int64_t done, int64_t part) {
    for (int64_t r = 0; r < rows; ++r)
      copy_values(image + first * s.at.position + (row + r) * s.at.channel, s.at.position,
                  block + r * ld + done, part);
  });
}
// Rows of C are positions.
template <class S>
void store_turned(const void* context, const compute_t<S>* block, int64_t ld, int64_t row,
                  int64_t rows, int64_t col, int64_t cols) {
  const auto& s = *static_cast<const Images<S>*>(context);
  s.each(row, rows, s.positions, [&](S* image, int64_t first, int64_t done, int64_t part) {
    for (int64_t i = 0; i < part; ++i)
      copy_values(image + (first + i) * s.at.position + col * s.at.channel, s.at.channel,
                  block + (done + i) * ld, cols);
  });
}

// dst = W src or W^T src at every position, image by image or all at once where images follow each
// other or are small. w (rows of dst, channels of src) has the given strides.
template <class S>
bool map_channels(const ConvParams& p, const Flat<S>& dst, int64_t rows, const Flat<S>& src,
                  int64_t terms, const Flat<S>& w, int64_t w_row, int64_t w_term, int64_t w_group,
                  const compute_t<S>* bias) {
  using T = compute_t<S>;
  const int64_t pixels = p.pixels();
  const bool together =
      p.n == 1 || (src.image == pixels * src.position && dst.image == pixels * dst.position);
  const bool small = !together && pixels < kSmallImage;
  const int64_t images = together || small ? 1 : p.n, count = images * p.groups;
  const Elements<S> elements;
  std::atomic<bool> ok{true};
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / p.groups, group = i % p.groups;
      const Flat<S> x{src.data + n * src.image + group * terms * src.channel, src.image,
                      src.channel, src.position};
      const Flat<S> y{dst.data + n * dst.image + group * rows * dst.channel, dst.image, dst.channel,
                      dst.position};
      const Images<S> from{x, pixels, terms, elements}, to{y, pixels, rows, elements};
      const S* const weights = w.data + group * w_group;
      const T* const add = bias == nullptr ? nullptr : bias + group * rows;
      Gemm<T> g;
      g.m = rows;
      g.n = images == 1 ? p.n * pixels : pixels;
      g.k = elements.count(terms);
      bool done;
      if constexpr (sizeof(S) == 2) {
        const StoredSource<S> a{{weights, w_row, w_term}, terms, elements};
        g.table = elements.table;
        g.a = a.source();
        g.b.pack = pack_lanes<S>;
        g.b.context = &from;
        g.c.context = &to;
        if (dst.channel == 1 && dst.position != 1) {  // channels_last: rows of C are written whole
          std::swap(g.m, g.n);
          std::swap(g.a, g.b);
          g.c.store = store_turned<S>;
          g.col_bias = add;
        } else {
          g.c.store = store_lanes<S>;
          g.row_bias = add;
        }
        done = gemm(g);
      } else {
        g.a = {weights, w_row, w_term};
        g.b = {x.data, x.position, x.channel};
        g.c = {y.data, y.channel, y.position};
        g.row_bias = add;
        g.then = p.then_of_y();
        const bool apart = src.channel * int64_t(sizeof(T)) % kPagePitch != 0;
        g.b_in_place = src.position == 1 && apart;
        if (small || (src.position == 1 && !apart && rows > 2 * elements.table->rows &&
                      pixels >= kLargeImage)) {
          g.b.pack = pack_lanes<S>;
          g.b.context = &from;
        }
        if (small) {
          g.c.store = store_lanes<S>;
          g.c.context = &to;
        }
        done = gemm(g);
      }
      if (!done) ok.store(false);
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
template <class S>
void take_positions(const ConvParams& p, const View& v, S* to) {
  const int64_t item = sizeof(S), rows = p.out[1], width = p.out[2], channels = v.shape[1];
  parallel_for(p.n * channels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const char* plane = v.data + i / channels * v.strides[0] + i % channels * v.strides[1];
      for (int64_t z = 0; z < p.out[0]; ++z) {
        CopyRows<S> r{to + i * p.pixels() + z * rows * width,
                      width,
                      reinterpret_cast<const S*>(plane + z * p.stride[0] * v.strides[2]),
                      p.stride[1] * v.strides[3] / item,
                      p.stride[2] * v.strides[4] / item,
                      rows,
                      0,
                      width,
                      0};
        if constexpr (sizeof(S) > 2) {
          gemm_table(*kernels().gemm, S()).copy_rows(r);
        } else {
          for (; r.rows > 0; --r.rows, r.dst += r.dst_pitch, r.src += r.src_pitch)
            for (int64_t x = 0; x < width; ++x) r.dst[x] = r.src[x * r.src_step];
        }
      }
    }
  });
}
template <class S>
void put_positions(const ConvParams& p, const S* from, const View& v) {
  const int64_t item = sizeof(S), channels = v.shape[1];
  const int64_t step = p.stride[2] * v.strides[4] / item;
  parallel_for(p.n * channels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      char* plane = v.data + i / channels * v.strides[0] + i % channels * v.strides[1];
      const S* row = from + i * p.pixels();
      for (int64_t z = 0; z < p.in[0]; ++z)
        for (int64_t y = 0; y < p.in[1]; ++y) {
          S* to = reinterpret_cast<S*>(plane + z * v.strides[2] + y * v.strides[3]);
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

template <class S>
bool pointwise(const ConvParams& p, const View* v) {
  using T = compute_t<S>;
  // The operand with the positions of the input: x, gx or x.
  const int strided = !is_strided(p)               ? -1
                      : p.op == ConvOp::forward    ? 1
                      : p.op == ConvOp::grad_input ? 0
                                                   : 2;
  const int64_t channels = p.c * p.groups, pixels = p.pixels();
  const Scratch taken(strided < 0 ? 0 : bytes_of<S>(times(p.n * channels, pixels)));
  if (!taken) return false;
  const auto at = [&](int i) {
    return i == strided ? Flat<S>{taken.at<S>(0), channels * pixels, pixels, 1} : flat<S>(v[i]);
  };
  if (strided > 0) take_positions(p, v[strided], taken.at<S>(0));
  const Flat<S> a = at(0), b = at(1), c = at(2);
  if (p.op == ConvOp::grad_weight) {
    const Elements<S> elements;
    for (int64_t group = 0; group < p.groups; ++group) {
      const Images<S> g{{b.data + group * p.o * b.channel, b.image, b.channel, b.position},
                        pixels,
                        p.o,
                        elements};
      const Images<S> x{{c.data + group * p.c * c.channel, c.image, c.channel, c.position},
                        pixels,
                        p.c,
                        elements};
      const Images<S> to{
          {a.data + group * p.o * a.image, 0, a.channel, a.image}, p.o, p.c, elements};
      Gemm<T> product;
      product.table = elements.table;
      product.m = p.o;
      product.n = p.c;
      product.k = p.n * elements.count(pixels);
      product.a.pack = product.b.pack = pack_terms<S>;
      product.a.context = &g;
      product.b.context = &x;
      if constexpr (sizeof(S) == 2) {
        product.c.store = store_turned<S>;
        product.c.context = &to;
      } else {
        product.c = {to.at.data, a.image, a.channel};
      }
      if (!gemm(product)) return false;
    }
    return true;
  }
  if (p.op == ConvOp::grad_input) {
    if (!map_channels<S>(p, a, p.c, b, p.o, c, c.channel, c.image, p.o * c.image, nullptr))
      return false;
    if (strided == 0) put_positions(p, taken.at<S>(0), v[0]);
    return true;
  }
  const View& bias = v[3];
  const int64_t values = bias.data == nullptr ? 0 : bias.shape[0];
  const Scratch scratch(values * int64_t(sizeof(T)));
  if (!scratch) return false;
  for (int64_t i = 0; i < values; ++i) scratch.at<T>(0)[i] = value_of<S>(bias, i);
  return map_channels<S>(p, a, p.o, b, p.c, c, c.image, c.channel, p.o * c.image,
                         values == 0 ? nullptr : scratch.at<T>(0));
}

// Whether every image lies row-major.
bool images_row_major(const View& v) {
  View image = v;
  image.shape[0] = 1;
  return image.row_major();
}

// The kernel covers the input: an image is a row of c * taps terms.
template <class S>
bool covering(const ConvParams& p, const View* v) {
  const int64_t terms = p.c * p.taps(), item = sizeof(S);
  const auto image = [&](const View& x) { return x.strides[0] / item; };
  const auto channel = [&](const View& x) { return x.strides[1] / item; };
  const Scratch scratch(p.o * int64_t(sizeof(compute_t<S>)));
  if (!scratch) return false;
  for (int64_t group = 0; group < p.groups; ++group) {
    Gemm<S> m;
    compute_t<S>* bias_values = nullptr;
    if (p.op == ConvOp::grad_weight) {
      const View &gw = v[0], &g = v[1], &x = v[2];
      m.m = p.o;
      m.n = terms;
      m.k = p.n;
      m.a = {g.ptr<S>() + group * p.o * channel(g), channel(g), image(g)};
      m.b = {x.ptr<S>() + group * terms, 1, image(x)};
      m.c = {gw.ptr<S>() + group * p.o * terms, terms, 1};
    } else if (p.op == ConvOp::grad_input) {
      const View &gx = v[0], &g = v[1], &w = v[2];
      m.m = p.n;
      m.n = terms;
      m.k = p.o;
      m.a = {g.ptr<S>() + group * p.o * channel(g), image(g), channel(g)};
      m.b = {w.ptr<S>() + group * p.o * image(w), 1, image(w)};
      m.c = {gx.ptr<S>() + group * terms, image(gx), 1};
    } else {
      const View &y = v[0], &x = v[1], &w = v[2], &bias = v[3];
      m.m = p.n;
      m.n = p.o;
      m.k = terms;
      m.a = {x.ptr<S>() + group * terms, image(x), 1};
      m.b = {w.ptr<S>() + group * p.o * image(w), image(w), 1};
      m.c = {y.ptr<S>() + group * p.o * channel(y), image(y), channel(y)};
      if (bias.data != nullptr) {
        bias_values = scratch.at<compute_t<S>>(0);
        for (int64_t i = 0; i < p.o; ++i) bias_values[i] = value_of<S>(bias, group * p.o + i);
      }
    }
    m.then = p.then_of_y();
    if (!gemm_stored(m, bias_values)) return false;
  }
  return true;
}

}  // namespace

bool is_covering(const ConvParams& p, const View* v) {
  if (p.pixels() != 1) return false;
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
  bool ok = false;
  dispatch_float("conv", v[0].dtype,
                 [&](auto tag) { ok = covering<typename decltype(tag)::type>(p, v); });
  return ok;
}

bool conv_pointwise(const ConvParams& p, const View* v) {
  bool ok = false;
  dispatch_float("conv", v[0].dtype,
                 [&](auto tag) { ok = pointwise<typename decltype(tag)::type>(p, v); });
  return ok;
}

bool is_pointwise(const ConvParams& p, const View* v) {
  if (p.taps() != 1) return false;
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

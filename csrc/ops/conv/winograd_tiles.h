// The tiles of a Winograd convolution: their geometry, and the transforms between images, weights
// and (point, tile, channel).
#pragma once
#include <algorithm>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/finish.h"
#include "cpu/gemm_half.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/winograd_kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/lower.h"

namespace tg {

constexpr int64_t kPatchTiles = 14;  // transformed at a time, with stride 2 fewer
constexpr int64_t kPatch = 9 * 57 * 16;
constexpr int64_t kMostTaps = 25;
constexpr int64_t kWeightChannels = 16;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// (tile, channel) per point; the distances avoid powers of two, whose multiples share cache sets.
struct Transformed {
  int64_t tile, point;
  Transformed(int64_t channels, int64_t tiles, int64_t lanes) {
    const auto apart = [&](int64_t n) { return n / lanes % 8 == 0 ? n + lanes : n; };
    tile = apart(ceil_div(channels, lanes) * lanes);
    point = apart(tile * tiles);
  }
  static int64_t floats(int64_t channels, int64_t lanes) {
    return (ceil_div(channels, lanes) + 1) * lanes;
  }
};

class TileTransforms {
 public:
  TileTransforms(const ConvParams& p, const View* v, const WinogradTable& t)
      : p_(p),
        v_(v),
        t_(t),
        k_(*kernels().winograd),
        pack_(gemm_table(*kernels().gemm, float()).pack),
        lanes_(k_.lanes),
        points_(t.n * t.n),
        weights_(t.weights * t.weights),
        taps_(t.r * t.r) {
    const bool back = p.op == ConvOp::grad_input;
    src_ = back ? p.o : p.c;
    dst_ = back ? p.c : p.o;
    const auto before = [&](int axis) {
      if (!back) return p.before[axis];
      if (p.stride[axis] == 2) return (1 - p.before[axis]) / 2;
      return (t.r - 1) * p.dilation[axis] - p.before[axis];
    };
    before_y_ = before(1);
    before_x_ = before(2);
    const int64_t* size = back ? p.in : p.out;
    step_y_ = p.dilation[1];
    step_x_ = p.dilation[2];
    down_ = ceil_div(ceil_div(size[1], step_y_), t.m);
    across_ = ceil_div(ceil_div(size[2], step_x_), t.m);
    tiles_ = p.n * step_y_ * step_x_ * down_ * across_;
    const int64_t cols = kPatch / 16 / t.n;  // of a patch; the result of a tile may be the larger
    patch_tiles_ = std::min({kPatchTiles, (cols - t.in) / t.step + 1, cols / t.m});
  }

 protected:
  // Asks for the row one tile further down, or near the top of the next image. Channels may lie
  // pages apart: the hardware fetches no page ahead. Inlined, or GCC drops a call that only asks.
  [[gnu::always_inline]] void ask(const View& v, int64_t n, int64_t channel, int64_t channels,
                                  int64_t y, int64_t x, int64_t cols) const {
    y += t_.m * step_y_;
    if (y >= v.shape[3]) y -= v.shape[3], ++n;
    if (y < 0 || y >= v.shape[3] || n >= v.shape[0]) return;
    const int64_t item = itemsize(v.dtype), begin = std::max<int64_t>(x, 0);
    const int64_t end = std::min(x + cols * step_x_, v.shape[4]);
    const char* p = v.data + n * v.strides[0] + channel * v.strides[1] + y * v.strides[3] +
                    begin * v.strides[4];
    const bool last = v.strides[1] == item;
    const int64_t rows = last ? end - begin : channels, row = v.strides[last ? 4 : 1];
    const int64_t bytes = item * (last ? channels : end - begin);
    for (int64_t r = 0; r < rows; ++r, p += row)
      for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + b, 0, 2);
  }

  // Rows and columns of some channels as [row][column][lanes], from (y, x) in steps of the
  // dilation, zero outside the image.
  void fetch(const View& v, int64_t n, int64_t channel, int64_t channels, int64_t y, int64_t x,
             int64_t rows, int64_t cols, float* patch) const {
    const int64_t row = cols * lanes_, item = itemsize(v.dtype);
    const int64_t left = std::clamp<int64_t>(ceil_div(-x, step_x_), 0, cols);
    const int64_t right = std::clamp<int64_t>(ceil_div(v.shape[4] - x, step_x_), left, cols);
    const char* base = v.data + n * v.strides[0] + channel * v.strides[1];
    for (int64_t r = 0; r < rows; ++r, patch += row, y += step_y_) {
      if (r >= rows - t_.m) ask(v, n, channel, channels, y, x, cols);
      const bool outside = y < 0 || y >= v.shape[3] || left == right;
      if (outside || channels < lanes_) fill_zero(patch, row);
      if (outside) continue;
      fill_zero(patch, left * lanes_);
      fill_zero(patch + right * lanes_, (cols - right) * lanes_);
      const char* from = base + y * v.strides[3] + (x + left * step_x_) * v.strides[4];
      dispatch_single(v.dtype, [&](auto tag) {
        using S = typename decltype(tag)::type;
        Elements<S>(false).pack(patch + left * lanes_, lanes_, reinterpret_cast<const S*>(from),
                                v.strides[1] / item, v.strides[4] * step_x_ / item, channels,
                                right - left);
      });
    }
  }

  // A piece of a row of tiles. With dilation d the image falls into d x d images of their own, each
  // cut into tiles.
  struct Piece {
    int64_t n, row, col, count;  // its first tile in its image
    int64_t part_y, part_x;      // which of the images
    int64_t at;                  // its first tile in the block
    int64_t channel;             // its first one
  };
  // Calls f for all pieces.
  template <class F>
  void pieces(Range tiles, int64_t channels, F&& f) const {
    const int64_t first = tiles.begin / across_, rows = ceil_div(tiles.end, across_) - first;
    const int64_t chunks = ceil_div(channels, lanes_);
    parallel_for(rows * chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = first + i / chunks, base = row * across_;
        const int64_t last = std::min(tiles.end - base, across_);
        const int64_t image = row / down_, part = image % (step_y_ * step_x_);
        for (int64_t x = std::max<int64_t>(tiles.begin - base, 0); x < last; x += patch_tiles_)
          f(Piece{image / (step_y_ * step_x_), row % down_, x, std::min(patch_tiles_, last - x),
                  part / step_x_, part % step_x_, base + x - tiles.begin, i % chunks * lanes_});
      }
    });
  }

  void transform_input(const View& v, int64_t first, int64_t channels, Range tiles, float* out,
                       const Transformed& to) const {
    pieces(tiles, channels, [&](const Piece& p) {
      alignas(64) float patch[kPatch];
      const int64_t cols = t_.step * (p.count - 1) + t_.in;
      fetch(v, p.n, first + p.channel, std::min<int64_t>(lanes_, channels - p.channel),
            p.row * t_.step * step_y_ + p.part_y - before_y_,
            p.col * t_.step * step_x_ + p.part_x - before_x_, t_.in, cols, patch);
      t_.input(patch, cols * lanes_, p.count,
               {out + p.at * to.tile + p.channel, to.tile, to.point});
    });
  }

  void transform_grad(const View& v, int64_t first, int64_t channels, Range tiles, float* out,
                      const Transformed& to) const {
    pieces(tiles, channels, [&](const Piece& p) {
      alignas(64) float patch[kPatch];
      const int64_t cols = t_.m * p.count;
      fetch(v, p.n, first + p.channel, std::min<int64_t>(lanes_, channels - p.channel),
            p.row * t_.m * step_y_ + p.part_y, p.col * t_.m * step_x_ + p.part_x, t_.m, cols,
            patch);
      t_.grad(patch, cols * lanes_, p.count, {out + p.at * to.tile + p.channel, to.tile, to.point});
    });
  }

  // Rounds `cols` vectors of some channels, the result at to with the given steps in elements.
  template <class S>
  void narrow(const float* row, S* to, int64_t channel, int64_t col, int64_t channels,
              int64_t cols) const {
    const auto narrow = half_table(*kernels().gemm, S()).narrow;
    if (channel == 1) {
      for (int64_t x = 0; x < cols; ++x) narrow(to + x * col, row + x * lanes_, channels);
      return;
    }
    alignas(64) float turned[kPatch];
    pack_(turned, cols, row, lanes_, 1, cols, channels);
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t x = 0, n = col == 1 ? cols : 1; x < cols; x += n)
        narrow(to + c * channel + x * col, turned + c * cols + x, n);
  }

  // channels of the result from first on.
  void transform_output(float* in, const Transformed& from, Range tiles, int64_t first,
                        int64_t most, const float* bias) const {
    const View& v = v_[0];
    const int64_t item = itemsize(v.dtype);
    pieces(tiles, most, [&](const Piece& p) {
      alignas(64) float patch[kPatch];
      const int64_t pitch = t_.m * p.count * lanes_;
      const int64_t channels = std::min(lanes_, most - p.channel);
      t_.output({in + p.at * from.tile + p.channel, from.tile, from.point}, p.count,
                bias + p.channel, patch, pitch);
      const int64_t y = p.row * t_.m * step_y_ + p.part_y, x0 = p.col * t_.m * step_x_ + p.part_x;
      const int64_t rows = std::min<int64_t>(t_.m, ceil_div(v.shape[3] - y, step_y_));
      const int64_t cols = std::min<int64_t>(t_.m * p.count, ceil_div(v.shape[4] - x0, step_x_));
      const int64_t col = v.strides[4] * step_x_ / item;
      finish(p_.then_of_y(), patch, rows * pitch);
      for (int64_t r = 0; r < rows; ++r) {
        ask(v, p.n, first + p.channel, channels, y + r * step_y_, x0, cols);
        const float* row = patch + r * pitch;
        float* to = reinterpret_cast<float*>(v.data + p.n * v.strides[0] +
                                             (first + p.channel) * v.strides[1] +
                                             (y + r * step_y_) * v.strides[3] + x0 * v.strides[4]);
        if (is_half(v.dtype)) {
          dispatch_single(v.dtype, [&](auto tag) {
            using S = typename decltype(tag)::type;
            if constexpr (sizeof(S) == 2)
              narrow(row, reinterpret_cast<S*>(to), v.strides[1] / item, col, channels, cols);
          });
        } else if (v.strides[1] == item) {  // channels_last
          pack_(to, col, row, 1, lanes_, channels, cols);
        } else if (col == 1) {
          pack_(to, v.strides[1] / item, row, lanes_, 1, cols, channels);
        } else {
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t x = 0; x < cols; ++x)
              to[c * v.strides[1] / item + x * col] = row[x * lanes_ + c];
        }
      }
    });
  }

  // One vector of dst channels and some src channels of the weight, per point [src channel][lanes
  // of a panel].
  void transform_weight(const float* w, int64_t dst, Part src, float* u, int64_t point) const {
    const bool back = p_.op == ConvOp::grad_input;
    const int64_t count = std::min(lanes_, dst_ - dst), row = taps_ * lanes_;
    alignas(64) float taps[kWeightChannels * kMostTaps * 16];
    if (count < lanes_) fill_zero(taps, kWeightChannels * row);
    for (int64_t begin = src.begin, channels; begin < src.end(); begin += channels) {
      channels = std::min(kWeightChannels, src.end() - begin);
      if (!back)
        pack_(taps, lanes_, w + (dst * src_ + begin) * taps_, src_ * taps_, 1, count,
              channels * taps_);
      for (int64_t c = 0; c < channels; ++c) {
        float* const own = taps + c * row;
        if (back)
          pack_(own, lanes_, w + ((begin + c) * dst_ + dst) * taps_, taps_, 1, count, taps_);
        t_.weight(own, back, u + (begin - src.begin + c) * k_.panel, point);
      }
    }
  }

  // All of it: [point][panel of dst channels][src channel][lanes of the panel].
  void transform_weights(const float* w, float* u, int64_t point) const {
    const int64_t chunks = ceil_div(dst_, lanes_), parts = ceil_div(src_, kWeightChannels);
    parallel_for(chunks * parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t dst = i / parts * lanes_;
        const Part src = part_of(src_, parts, i % parts);
        transform_weight(
            w, dst, src,
            u + dst / k_.panel * k_.panel * src_ + src.begin * k_.panel + dst % k_.panel, point);
      }
    });
  }

  // Where the weight of a point lies.
  int64_t weight_of(int64_t point) const {
    const int64_t last = t_.weights - 1;
    return std::min(point / t_.n, last) * t_.weights + std::min(point % t_.n, last);
  }
  // Calls f for all points of a weight.
  template <class F>
  void points_of(int64_t weight, F&& f) const {
    const int64_t last = t_.weights - 1, y = weight / t_.weights, x = weight % t_.weights;
    for (int64_t i = y; i < (y == last ? t_.n : y + 1); ++i)
      for (int64_t j = x; j < (x == last ? t_.n : x + 1); ++j) f(i * t_.n + j);
  }

  void store_weight(const float* m, const Transformed& from, Part rows, int64_t col,
                    int64_t group) const {
    const int64_t out = group * p_.o * p_.c * taps_;
    const int64_t end = std::min<int64_t>(col + k_.panel, p_.c);
    alignas(64) float taps[kMostTaps * 16], turned[kMostTaps * 16];
    for (int64_t r = 0; r < rows.count; ++r)
      for (int64_t c = col; c < end; c += lanes_) {
        t_.grad_weight(m + r * from.tile + c - col, from.point, taps);
        const int64_t to = out + ((rows.begin + r) * p_.c + c) * taps_;
        const int64_t channels = std::min(lanes_, end - c);
        dispatch_single(v_[0].dtype, [&](auto tag) {
          using S = typename decltype(tag)::type;
          if constexpr (sizeof(S) == 2) {
            pack_(turned, taps_, taps, lanes_, 1, taps_, channels);
            half_table(*kernels().gemm, S()).narrow(v_[0].ptr<S>() + to, turned, channels * taps_);
          } else {
            pack_(v_[0].ptr<float>() + to, taps_, taps, lanes_, 1, taps_, channels);
          }
        });
      }
  }

  const ConvParams& p_;
  const View* const v_;
  const WinogradTable& t_;
  const WinogradKernels& k_;
  void (*const pack_)(float*, int64_t, const float*, int64_t, int64_t, int64_t, int64_t);
  const int64_t lanes_, points_, weights_, taps_;
  int64_t src_, dst_;  // channels of a group
  int64_t before_y_, before_x_, step_y_, step_x_, down_, across_, tiles_, patch_tiles_;
};

}  // namespace tg

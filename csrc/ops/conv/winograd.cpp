// Winograd convolution with kernels of 3 x 3 or 5 x 5 taps, stride 1, in three directions; see
// cpu/isa/winograd_kernels.h. A block of tiles is transformed, multiplied point by point as small
// matrix products, and transformed back.
#include <algorithm>
#include <atomic>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/gemm_half.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/winograd_kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kNarrowBytes = 640 << 10;  // of a block that one thread keeps to itself
constexpr int64_t kWideBytes = 24 << 20;     // of a block that all threads share
constexpr int64_t kFewTiles = 160;           // so many hardly pay for the weight
constexpr int64_t kNarrowTiles = 12;         // a narrow block has at least so many
constexpr int64_t kManyTiles = 512;          // and a wide one at most so many
constexpr int64_t kTerms = 128;              // of one chain of fused multiply-adds,
constexpr int64_t kGradTerms = 32;           // shorter over tiles, of which there are many
constexpr int64_t kGradRows = 126;           // of sums that stay in the second-level cache
constexpr int64_t kPatchTiles = 14;          // transformed at a time, in the first-level cache
constexpr int64_t kPatch = 6 * (4 * kPatchTiles + 2) * 16;
constexpr int64_t kMostTaps = 25;
constexpr int64_t kFar = 8;  // dilation beyond which images fall into too many
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

class Winograd {
 public:
  Winograd(const ConvParams& p, const View* v, const WinogradTable& t)
      : p_(p),
        v_(v),
        t_(t),
        k_(*kernels().winograd),
        pack_(gemm_table(*kernels().gemm, float()).pack),
        lanes_(k_.lanes),
        points_(t.n * t.n),
        taps_(t.r * t.r) {
    const bool back = p.op == ConvOp::grad_input;
    src_ = back ? p.o : p.c;
    dst_ = back ? p.c : p.o;
    before_y_ = back ? (t.r - 1) * p.dilation[1] - p.before[1] : p.before[1];
    before_x_ = back ? (t.r - 1) * p.dilation[2] - p.before[2] : p.before[2];
    const int64_t* size = back ? p.in : p.out;
    step_y_ = p.dilation[1];
    step_x_ = p.dilation[2];
    down_ = ceil_div(ceil_div(size[1], step_y_), t.m);
    across_ = ceil_div(ceil_div(size[2], step_x_), t.m);
    tiles_ = p.n * step_y_ * step_x_ * down_ * across_;
  }

  bool run() {
    for (int64_t group = 0; group < p_.groups; ++group)
      if (!(p_.op == ConvOp::grad_weight ? grad_weight(group) : correlate(group))) return false;
    return true;
  }

 private:
  // Rows and columns of some channels as [row][column][lanes], from (y, x) in steps of the
  // dilation, zero outside the image.
  void fetch(const View& v, int64_t n, int64_t channel, int64_t channels, int64_t y, int64_t x,
             int64_t rows, int64_t cols, float* patch) const {
    const int64_t row = cols * lanes_, item = itemsize(v.dtype);
    const int64_t left = std::clamp<int64_t>(ceil_div(-x, step_x_), 0, cols);
    const int64_t right = std::clamp<int64_t>(ceil_div(v.shape[4] - x, step_x_), left, cols);
    const char* base = v.data + n * v.strides[0] + channel * v.strides[1];
    for (int64_t r = 0; r < rows; ++r, patch += row, y += step_y_) {
      const bool outside = y < 0 || y >= v.shape[3] || left == right;
      if (outside || channels < lanes_) std::fill_n(patch, row, 0.0f);
      if (outside) continue;
      std::fill_n(patch, left * lanes_, 0.0f);
      std::fill_n(patch + right * lanes_, (cols - right) * lanes_, 0.0f);
      const char* from = base + y * v.strides[3] + (x + left * step_x_) * v.strides[4];
      dispatch_single(v.dtype, [&](auto tag) {
        using S = typename decltype(tag)::type;
        Elements<S>(false).pack(patch + left * lanes_, lanes_, reinterpret_cast<const S*>(from),
                                v.strides[1] / item, v.strides[4] * step_x_ / item, channels,
                                right - left);
      });
    }
  }

  // Where a piece of a row of tiles begins in the result. With dilation d the image falls into
  // d x d images of their own, each cut into tiles.
  struct Piece {
    int64_t n, y, x, count;
    int64_t at;       // its first tile in the block
    int64_t channel;  // its first one
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
        for (int64_t x = std::max<int64_t>(tiles.begin - base, 0); x < last; x += kPatchTiles)
          f(Piece{image / (step_y_ * step_x_), row % down_ * t_.m * step_y_ + part / step_x_,
                  x * t_.m * step_x_ + part % step_x_, std::min(kPatchTiles, last - x),
                  base + x - tiles.begin, i % chunks * lanes_});
      }
    });
  }

  void transform_input(const View& v, int64_t first, int64_t channels, Range tiles, float* out,
                       const Transformed& to) const {
    pieces(tiles, channels, [&](const Piece& p) {
      alignas(64) float patch[kPatch];
      const int64_t cols = t_.m * p.count + t_.r - 1;
      fetch(v, p.n, first + p.channel, std::min<int64_t>(lanes_, channels - p.channel),
            p.y - before_y_, p.x - before_x_, t_.n, cols, patch);
      t_.input(patch, cols * lanes_, p.count,
               {out + p.at * to.tile + p.channel, to.tile, to.point});
    });
  }

  void transform_grad(const View& v, int64_t first, int64_t channels, Range tiles, float* out,
                      const Transformed& to) const {
    pieces(tiles, channels, [&](const Piece& p) {
      alignas(64) float patch[kPatch];
      const int64_t cols = t_.m * p.count;
      fetch(v, p.n, first + p.channel, std::min<int64_t>(lanes_, channels - p.channel), p.y, p.x,
            t_.m, cols, patch);
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
      const int64_t rows = std::min<int64_t>(t_.m, ceil_div(v.shape[3] - p.y, step_y_));
      const int64_t cols = std::min<int64_t>(t_.m * p.count, ceil_div(v.shape[4] - p.x, step_x_));
      const int64_t col = v.strides[4] * step_x_ / item;
      for (int64_t r = 0; r < rows; ++r) {
        const float* row = patch + r * pitch;
        float* to = reinterpret_cast<float*>(
            v.data + p.n * v.strides[0] + (first + p.channel) * v.strides[1] +
            (p.y + r * step_y_) * v.strides[3] + p.x * v.strides[4]);
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
    if (count < lanes_) std::fill_n(taps, kWeightChannels * row, 0.0f);
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

  // m = v u for every point.
  void multiply(const float* v, const Transformed& from, const float* u, int64_t u_point, float* m,
                const Transformed& to, int64_t tiles) const {
    const int64_t width = ceil_div(dst_, lanes_) * lanes_, panels = ceil_div(width, k_.panel);
    parallel_for(points_ * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t point = i / panels, col = i % panels * k_.panel;
        const int64_t blocks = ceil_div(src_, kTerms);
        for (int64_t b = 0; b < blocks; ++b) {
          const Part terms = part_of(src_, blocks, b);
          k_.product({tiles, std::min<int64_t>(k_.panel, width - col), terms.count,
                      v + point * from.point + terms.begin, from.tile, false,
                      u + point * u_point + col * src_ + terms.begin * k_.panel, k_.panel,
                      m + point * to.point + col, to.tile, b > 0});
        }
      }
    });
  }

  bool correlate(int64_t group) const {
    const View &w = v_[2], &bias = v_[3];
    const bool back = p_.op == ConvOp::grad_input;
    const int64_t padded = ceil_div(dst_, k_.panel) * k_.panel, biases = bytes_of<float>(padded);
    const int64_t copied = is_row_major<float>(w) ? 0 : bytes_of<float>(w.size());
    const Scratch scratch(biases + copied);
    if (!scratch) return false;
    float* const add = scratch.at<float>(0);
    std::fill_n(add, padded, 0.0f);
    if (!back && bias.data != nullptr)
      for (int64_t i = 0; i < dst_; ++i) add[i] = value_at(bias, group * dst_ + i);
    const float* values =
        row_major_values(w, scratch.at<float>(biases)) + group * p_.o * p_.c * taps_;
    return tiles_ <= kFewTiles ? few_tiles(group, values, add) : many_tiles(group, values, add);
  }

  // The whole weight is transformed first. Narrow layers take blocks that stay in the second-level
  // cache of one thread; wide ones share the phases of a large block, so that the weight is read
  // once.
  bool many_tiles(int64_t group, const float* w, const float* bias) const {
    const int64_t item = sizeof(float), per_tile = points_ * item *
                                                   (Transformed::floats(src_, lanes_) +
                                                    Transformed::floats(dst_, lanes_));
    const bool narrow = kNarrowBytes / per_tile >= kNarrowTiles && tiles_ >= 2 * kNarrowTiles;
    const int64_t most = narrow ? kNarrowBytes / per_tile
                                : std::clamp<int64_t>(kWideBytes / per_tile, 1, kManyTiles);
    const int64_t blocks = ceil_div(tiles_, most), block = ceil_div(tiles_, blocks);
    const Transformed from(src_, block, lanes_), to(dst_, block, lanes_);
    const int64_t u_point = ceil_div(dst_, k_.panel) * k_.panel * src_ + lanes_;
    const Scratch scratch(bytes_of<float>(times(points_, u_point)));
    if (!scratch) return false;
    float* const u = scratch.at<float>(0);
    transform_weights(w, u, u_point);
    std::atomic<bool> ok{true};
    const auto some = [&](int64_t begin, int64_t end) {
      const Scratch space((from.point + to.point) * points_ * item);
      if (!space) return ok.store(false, std::memory_order_relaxed);
      float *const v = space.at<float>(0), *const m = v + from.point * points_;
      for (int64_t i = begin; i < end; ++i) {
        const Part part = part_of(tiles_, blocks, i);
        const Range tiles{part.begin, part.end()};
        transform_input(v_[1], group * src_, src_, tiles, v, from);
        multiply(v, from, u, u_point, m, to, tiles.size());
        transform_output(m, to, tiles, group * dst_, dst_, bias);
      }
    };
    if (narrow)
      parallel_for(blocks, 1, some);
    else
      some(0, blocks);
    return ok.load();
  }

  // So few that they hardly pay for the weight: a panel of it is transformed where it is used, and
  // never leaves the second-level cache.
  bool few_tiles(int64_t group, const float* w, const float* bias) const {
    const Transformed from(src_, tiles_, lanes_), to(k_.panel, tiles_, lanes_);
    const Scratch transformed(times(from.point, points_ * int64_t(sizeof(float))));
    if (!transformed) return false;
    float* const v = transformed.at<float>(0);
    const Range tiles{0, tiles_};
    transform_input(v_[1], group * src_, src_, tiles, v, from);
    const int64_t blocks = ceil_div(src_, kTerms), u_point = kTerms * k_.panel + lanes_;
    std::atomic<bool> ok{true};
    parallel_for(ceil_div(dst_, k_.panel), 1, [&](int64_t begin, int64_t end) {
      const Scratch space(points_ * (u_point + to.point) * int64_t(sizeof(float)));
      if (!space) return ok.store(false, std::memory_order_relaxed);
      float *const u = space.at<float>(0), *const m = u + points_ * u_point;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t dst = i * k_.panel, channels = std::min<int64_t>(k_.panel, dst_ - dst);
        const int64_t width = ceil_div(channels, lanes_) * lanes_;
        for (int64_t b = 0; b < blocks; ++b) {
          const Part terms = part_of(src_, blocks, b);
          for (int64_t l = 0; l < width; l += lanes_)
            transform_weight(w, dst + l, terms, u + l, u_point);
          for (int64_t point = 0; point < points_; ++point)
            k_.product({tiles_, width, terms.count, v + point * from.point + terms.begin, from.tile,
                        false, u + point * u_point, k_.panel, m + point * to.point, to.tile,
                        b > 0});
        }
        transform_output(m, to, tiles, group * dst_ + dst, channels, bias + dst);
      }
    });
    return ok.load();
  }

  // Units of work are some rows and a panel of columns of the weight at all points; where one block
  // holds all tiles and there are units enough, their sums never leave the second-level cache.
  bool grad_weight(int64_t group) const {
    const int64_t c = p_.c, o = p_.o, item = sizeof(float);
    const int64_t per_tile =
        points_ * item * (Transformed::floats(c, lanes_) + Transformed::floats(o, lanes_));
    const int64_t most = std::clamp<int64_t>(kWideBytes / per_tile, 1, kManyTiles);
    const int64_t blocks = ceil_div(tiles_, most), block = ceil_div(tiles_, blocks);
    const int64_t parts = ceil_div(o, kGradRows), panels = ceil_div(c, k_.panel);
    const int64_t units = parts * panels;
    const bool local = blocks == 1 && units >= num_threads();
    const Transformed xs(c, block, lanes_), gs(o, block, lanes_);
    const Transformed ws(k_.panel, ceil_div(o, parts), lanes_);
    const Scratch space(times(points_ * item, xs.point + gs.point));
    const Scratch sums(local ? 0 : times(times(points_ * item, ws.point), units));
    if (!space || !sums) return false;
    float *const v = space.at<float>(0), *const h = v + xs.point * points_;
    const auto multiply = [&](int64_t unit, int64_t point, int64_t tiles, float* m, bool add) {
      const Part rows = part_of(o, parts, unit / panels);
      const int64_t col = unit % panels * k_.panel, chains = ceil_div(tiles, kGradTerms);
      const int64_t width = ceil_div(std::min<int64_t>(k_.panel, c - col), lanes_) * lanes_;
      for (int64_t b = 0; b < chains; ++b) {
        const Part terms = part_of(tiles, chains, b);
        k_.product({rows.count, width, terms.count,
                    h + point * gs.point + terms.begin * gs.tile + rows.begin, gs.tile, true,
                    v + point * xs.point + terms.begin * xs.tile + col, xs.tile,
                    m + point * ws.point, ws.tile, add || b > 0});
      }
    };
    for (int64_t i = 0; i < blocks; ++i) {
      const Part part = part_of(tiles_, blocks, i);
      const Range tiles{part.begin, part.end()};
      transform_input(v_[2], group * c, c, tiles, v, xs);
      transform_grad(v_[1], group * o, o, tiles, h, gs);
      if (local) break;
      parallel_for(units * points_, 1, [&](int64_t begin, int64_t end) {
        for (int64_t q = begin; q < end; ++q)
          multiply(q / points_, q % points_, tiles.size(),
                   sums.at<float>(0) + q / points_ * points_ * ws.point, i > 0);
      });
    }
    std::atomic<bool> ok{true};
    parallel_for(units, 1, [&](int64_t begin, int64_t end) {
      const Scratch own(local ? points_ * ws.point * item : 0);
      if (!own) return ok.store(false, std::memory_order_relaxed);
      for (int64_t unit = begin; unit < end; ++unit) {
        float* const m = local ? own.at<float>(0) : sums.at<float>(0) + unit * points_ * ws.point;
        for (int64_t point = 0; local && point < points_; ++point)
          multiply(unit, point, tiles_, m, false);
        store_weight(m, ws, part_of(o, parts, unit / panels), unit % panels * k_.panel, group);
      }
    });
    return ok.load();
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
  const int64_t lanes_, points_, taps_;
  int64_t src_, dst_;  // channels of a group
  int64_t before_y_, before_x_, step_y_, step_x_, down_, across_, tiles_;
};

}  // namespace

namespace {

bool applies(const ConvParams& p, const View* v, int64_t taps) {
  if (v[0].dtype == DType::f64 || p.in[0] != 1 || p.out[0] != 1 || p.kernel[0] != 1) return false;
  for (int i = 1; i < 3; ++i)
    if (p.kernel[i] != taps || p.stride[i] != 1 || p.dilation[i] > kFar) return false;
  return p.op == ConvOp::grad_weight || v[0].strides[4] == itemsize(v[0].dtype) ||
         v[0].strides[1] == itemsize(v[0].dtype);
}

}  // namespace

bool is_winograd3(const ConvParams& p, const View* v) { return applies(p, v, 3); }
bool is_winograd5(const ConvParams& p, const View* v) { return applies(p, v, 5); }

bool conv_winograd_2x3(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->two_three).run();
}
bool conv_winograd_4x3(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->four_three).run();
}
bool conv_winograd_2x5(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->two_five).run();
}

}  // namespace tg

// Winograd convolution with kernels of 3 x 3 or 5 x 5 taps in three directions; see
// cpu/isa/winograd_kernels.h. A block of tiles is transformed, multiplied point by point as small
// matrix products, and transformed back.
#include <atomic>
#include <cstring>

#include "ops/conv/winograd_tiles.h"

namespace tg {
namespace {

constexpr int64_t kNarrowBytes = 768 << 10;  // of a block that one thread keeps to itself
constexpr int64_t kWideBytes = 24 << 20;     // of a block that all threads share
constexpr int64_t kFewTiles = 160;           // so many hardly pay for the weight
constexpr int64_t kNarrowTiles = 12;         // a narrow block has at least so many
constexpr int64_t kAhead = 2048;             // floats that a kept weight is asked for early
constexpr int64_t kManyTiles = 512;          // and a wide one at most so many
constexpr int64_t kPanelBytes = 256 << 10;   // of panels of the weight that pass by rows of tiles
constexpr int64_t kTerms = 128;              // of one chain of fused multiply-adds,
constexpr int64_t kGradTerms = 32;           // shorter over tiles, of which there are many
constexpr int64_t kGradRows = 126;           // of sums that stay in the second-level cache
constexpr int64_t kGradBytes = 256 << 10;    // of sums that stay there beside a narrow block
constexpr int64_t kGradChunks = 8;           // of narrow blocks, with sums of their own
constexpr int64_t kFar = 8;                  // dilation beyond which images fall into too many

class Winograd : TileTransforms {
 public:
  using TileTransforms::TileTransforms;

  // Of the whole weight, transformed.
  int64_t weight_floats() const { return times(p_.groups, times(weights_, weight_point())); }

  bool run() {
    for (int64_t group = 0; group < p_.groups; ++group)
      if (!(p_.op == ConvOp::grad_weight ? grad_weight(group) : correlate(group))) return false;
    return true;
  }

 private:
  // m = v u for every point and some panels of dst channels from first on. Rows of tiles stay in
  // the first-level cache while some panels of the weight, from the second, pass by.
  void multiply(const float* v, const Transformed& from, const float* u, int64_t u_point, float* m,
                const Transformed& to, int64_t tiles, Part panels) const {
    const int64_t width = ceil_div(dst_, lanes_) * lanes_, panel = k_.panel;
    const int64_t most =
        std::max<int64_t>(1, kPanelBytes / int64_t(sizeof(float)) / (panel * src_));
    const int64_t groups = ceil_div(panels.count, most), blocks = ceil_div(src_, kTerms);
    const int64_t heights = ceil_div(tiles, k_.rows);
    parallel_for(points_ * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t point = i / groups;
        const Part group = part_of(panels.count, groups, i % groups);
        const float* const a = v + point * from.point;
        const float* const b = u + weight_of(point) * u_point;
        float* const c = m + point * to.point;
        for (int64_t h = 0; h < heights; ++h) {
          const Part rows = part_of(tiles, heights, h);
          for (int64_t q = group.begin; q < group.end(); ++q)
            for (int64_t t = 0; t < blocks; ++t) {
              const Part terms = part_of(src_, blocks, t);
              const int64_t col = (panels.begin + q) * panel;
              k_.product({rows.count, std::min(panel, width - col), terms.count,
                          a + rows.begin * from.tile + terms.begin, from.tile, false,
                          b + col * src_ + terms.begin * panel, panel,
                          c + rows.begin * to.tile + q * panel, to.tile, t > 0, 0});
            }
        }
      }
    });
  }

  // The distance between the points of a transformed weight.
  int64_t weight_point() const { return ceil_div(dst_, k_.panel) * k_.panel * src_ + lanes_; }

  bool correlate(int64_t group) const {
    const View &w = v_[2], &bias = v_[3];
    const bool kept = p_.weight == ConvWeight::kept;
    float* const u = p_.weight == ConvWeight::given
                         ? nullptr
                         : v_[kKeptWeight].ptr<float>() + group * weights_ * weight_point();
    const bool back = p_.op == ConvOp::grad_input;
    const int64_t padded = ceil_div(dst_, k_.panel) * k_.panel, biases = bytes_of<float>(padded);
    const int64_t copied = kept || is_row_major<float>(w) ? 0 : bytes_of<float>(w.size());
    const Scratch scratch(biases + copied);
    if (!scratch) return false;
    float* const add = scratch.at<float>(0);
    fill_zero(add, padded);
    if (!back && bias.data != nullptr)
      for (int64_t i = 0; i < dst_; ++i) add[i] = value_at(bias, group * dst_ + i);
    const float* values =
        kept ? nullptr
             : row_major_values(w, scratch.at<float>(biases)) + group * p_.o * p_.c * taps_;
    if (p_.weight == ConvWeight::making) {
      if (tiles_ <= kFewTiles)
        make_panels(values, u);
      else
        transform_weights(values, u, weight_point());
      return true;
    }
    return tiles_ <= kFewTiles ? few_tiles(group, values, u, add)
                               : many_tiles(group, values, u, add);
  }

  // The whole weight is transformed first. Narrow layers take blocks that stay in the second-level
  // cache of one thread; wide ones share the phases of a large block, so that the weight is read
  // once.
  bool many_tiles(int64_t group, const float* w, const float* kept, const float* bias) const {
    // Where a block is too large otherwise, its result is made one panel after the other.
    const int64_t item = sizeof(float), panels = ceil_div(dst_, k_.panel);
    const auto tile_bytes = [&](int64_t dst) {
      return points_ * item *
             (Transformed::floats(src_, lanes_) + Transformed::floats(dst, lanes_));
    };
    const bool whole = kNarrowBytes / tile_bytes(dst_) >= kNarrowTiles;
    const int64_t narrow_dst = whole ? dst_ : std::min<int64_t>(dst_, k_.panel);
    const bool narrow =
        kNarrowBytes / tile_bytes(narrow_dst) >= kNarrowTiles && tiles_ >= 2 * kNarrowTiles;
    const int64_t width = narrow ? narrow_dst : dst_, sections = width == dst_ ? 1 : panels;
    const int64_t most = narrow
                             ? kNarrowBytes / tile_bytes(width)
                             : std::clamp<int64_t>(kWideBytes / tile_bytes(width), 1, kManyTiles);
    const int64_t blocks = ceil_div(tiles_, most), block = ceil_div(tiles_, blocks);
    const Transformed from(src_, block, lanes_), to(width, block, lanes_);
    const int64_t u_point = weight_point();
    const Scratch scratch(kept != nullptr ? 0 : bytes_of<float>(times(weights_, u_point)));
    if (!scratch) return false;
    const float* const u = kept != nullptr ? kept : scratch.at<float>(0);
    if (kept == nullptr) transform_weights(w, scratch.at<float>(0), u_point);
    std::atomic<bool> ok{true};
    const auto some = [&](int64_t begin, int64_t end) {
      const Scratch space((from.point + to.point) * points_ * item);
      if (!space) return ok.store(false, std::memory_order_relaxed);
      float *const v = space.at<float>(0), *const m = v + from.point * points_;
      for (int64_t i = begin; i < end; ++i) {
        const Part part = part_of(tiles_, blocks, i);
        const Range tiles{part.begin, part.end()};
        transform_input(v_[1], group * src_, src_, tiles, v, from);
        for (int64_t s = 0; s < sections; ++s) {
          const Part part = part_of(panels, sections, s);
          const int64_t first = part.begin * k_.panel;
          multiply(v, from, u, u_point, m, to, tiles.size(), part);
          transform_output(m, to, tiles, group * dst_ + first,
                           std::min(dst_ - first, part.count * k_.panel), bias + first);
        }
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
  bool few_tiles(int64_t group, const float* w, const float* kept, const float* bias) const {
    const Transformed from(src_, tiles_, lanes_), to(k_.panel, tiles_, lanes_);
    const Scratch transformed(times(from.point, points_ * int64_t(sizeof(float))));
    if (!transformed) return false;
    float* const v = transformed.at<float>(0);
    const Range tiles{0, tiles_};
    transform_input(v_[1], group * src_, src_, tiles, v, from);
    const int64_t blocks = ceil_div(src_, kTerms);
    const int64_t made = kept != nullptr ? 0 : weights_ * (kTerms * k_.panel + lanes_);
    std::atomic<bool> ok{true};
    parallel_for(ceil_div(dst_, k_.panel), 1, [&](int64_t begin, int64_t end) {
      const Scratch space((made + points_ * to.point) * int64_t(sizeof(float)));
      if (!space) return ok.store(false, std::memory_order_relaxed);
      float *const own = space.at<float>(0), *const m = own + made;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t dst = i * k_.panel, channels = std::min<int64_t>(k_.panel, dst_ - dst);
        const int64_t width = ceil_div(channels, lanes_) * lanes_;
        for (int64_t b = 0; b < blocks; ++b) {
          const Part terms = part_of(src_, blocks, b);
          const float* const u = kept != nullptr ? kept + panel_at(dst, terms) : own;
          const int64_t u_point =
              kept != nullptr ? terms.count * k_.panel : kTerms * k_.panel + lanes_;
          for (int64_t l = 0; l < width && kept == nullptr; l += lanes_)
            transform_weight(w, dst + l, terms, own + l, u_point);
          for (int64_t point = 0; point < points_; ++point)
            k_.product({tiles_, width, terms.count, v + point * from.point + terms.begin, from.tile,
                        false, u + weight_of(point) * u_point, k_.panel, m + point * to.point,
                        to.tile, b > 0, kept != nullptr ? kAhead : 0});
        }
        transform_output(m, to, tiles, group * dst_ + dst, channels, bias + dst);
      }
    });
    return ok.load();
  }

  // Where some terms of a panel of the kept weight begin, in the order in which few_tiles reads
  // them: panel, terms, point.
  int64_t panel_at(int64_t dst, Part terms) const {
    return weights_ * (dst * src_ + terms.begin * k_.panel);
  }
  void make_panels(const float* w, float* u) const {
    const int64_t blocks = ceil_div(src_, kTerms);
    parallel_for(ceil_div(dst_, k_.panel) * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Part terms = part_of(src_, blocks, i % blocks);
        const int64_t dst = i / blocks * k_.panel, last = std::min(dst_, dst + k_.panel);
        for (int64_t l = dst; l < last; l += lanes_)
          transform_weight(w, l, terms, u + panel_at(dst, terms) + l - dst, terms.count * k_.panel);
      }
    });
  }

  // Units of work are some rows and a panel of columns of the weight at one of its points, or at
  // all of them, where their sums then never leave the second-level cache.
  // Narrow layers go through it in chunks of small blocks, nothing of which passes from one thread
  // to another but the sums of a chunk; these are added in order.
  bool grad_weight(int64_t group) const {
    const int64_t c = p_.c, o = p_.o, item = sizeof(float);
    const int64_t per_tile =
        points_ * item * (Transformed::floats(c, lanes_) + Transformed::floats(o, lanes_));
    const int64_t parts = ceil_div(o, kGradRows), panels = ceil_div(c, k_.panel);
    const int64_t units = parts * panels;
    const Transformed ws(k_.panel, ceil_div(o, parts), lanes_);
    const int64_t all = times(times(weights_ * item, ws.point), units),
                  few = kNarrowBytes / per_tile;
    const bool narrow = all <= kGradBytes && few >= kNarrowTiles && tiles_ > few;
    const int64_t chunks = narrow ? std::min(kGradChunks, ceil_div(tiles_, few)) : 1;
    const int64_t most = narrow ? few : std::clamp<int64_t>(kWideBytes / per_tile, 1, kManyTiles);
    const int64_t blocks = ceil_div(ceil_div(tiles_, chunks), most);
    const int64_t block = ceil_div(ceil_div(tiles_, chunks), blocks);
    // A unit alone goes through all transformed data, all units at a point through all sums.
    const bool local =
        !narrow && blocks == 1 && units >= num_threads() &&
        points_ * tiles_ * (c * (parts - 1) + o * (panels - 1)) < 8 * weights_ * c * o;
    const Transformed xs(c, block, lanes_), gs(o, block, lanes_);
    const int64_t transformed = times(points_ * item, xs.point + gs.point);
    const Scratch space(narrow ? 0 : transformed), sums(local ? 0 : all * chunks);
    if (!space || !sums) return false;
    const auto multiply = [&](const float* v, const float* h, int64_t unit, int64_t weight,
                              int64_t tiles, float* m, bool add) {
      const Part rows = part_of(o, parts, unit / panels);
      const int64_t col = unit % panels * k_.panel, chains = ceil_div(tiles, kGradTerms);
      const int64_t width = ceil_div(std::min<int64_t>(k_.panel, c - col), lanes_) * lanes_;
      points_of(weight, [&](int64_t point) {
        for (int64_t b = 0; b < chains; ++b, add = true) {
          const Part terms = part_of(tiles, chains, b);
          k_.product({rows.count, width, terms.count,
                      h + point * gs.point + terms.begin * gs.tile + rows.begin, gs.tile, true,
                      v + point * xs.point + terms.begin * xs.tile + col, xs.tile,
                      m + weight * ws.point, ws.tile, add, 0});
        }
      });
    };
    std::atomic<bool> ok{true};
    const auto chunk = [&](int64_t begin, int64_t end) {
      const Scratch own(transformed);
      if (!own) return ok.store(false, std::memory_order_relaxed);
      float *const v = own.at<float>(0), *const h = v + xs.point * points_;
      for (int64_t i = begin * blocks; i < end * blocks; ++i) {
        const Part whole = part_of(tiles_, chunks, i / blocks);
        const Part part = part_of(whole.count, blocks, i % blocks);
        const Range tiles{whole.begin + part.begin, whole.begin + part.end()};
        transform_input(v_[2], group * c, c, tiles, v, xs);
        transform_grad(v_[1], group * o, o, tiles, h, gs);
        for (int64_t q = 0; q < units * weights_; ++q)
          multiply(v, h, q / weights_, q % weights_, tiles.size(),
                   sums.at<float>(i / blocks * all) + q / weights_ * weights_ * ws.point,
                   i % blocks > 0);
      }
    };
    if (narrow) parallel_for(chunks, 1, chunk);
    float *const v = space.at<float>(0), *const h = v + xs.point * points_;
    for (int64_t i = 0; i < blocks && !narrow; ++i) {
      const Part part = part_of(tiles_, blocks, i);
      const Range tiles{part.begin, part.end()};
      transform_input(v_[2], group * c, c, tiles, v, xs);
      transform_grad(v_[1], group * o, o, tiles, h, gs);
      if (local) break;
      parallel_for(units * weights_, 1, [&](int64_t begin, int64_t end) {
        for (int64_t q = begin; q < end; ++q)
          multiply(v, h, q % units, q / units, tiles.size(),
                   sums.at<float>(0) + q % units * weights_ * ws.point, i > 0);
      });
    }
    if (!ok.load()) return false;
    parallel_for(chunks > 1 ? units * weights_ : 0, 1, [&](int64_t begin, int64_t end) {
      for (int64_t q = begin; q < end; ++q) {
        float* const m = sums.at<float>(0) + q * ws.point;
        const int64_t rows = part_of(o, parts, q / weights_ / panels).count;
        const int64_t first = q / weights_ % panels * k_.panel;
        const int64_t width = std::min<int64_t>(k_.panel, c - first);
        for (int64_t i = 1; i < chunks; ++i)
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t x = r * ws.tile; x < r * ws.tile + width; ++x)
              m[x] += (m + i * all / item)[x];
      }
    });
    parallel_for(units, 1, [&](int64_t begin, int64_t end) {
      const Scratch own(local ? weights_ * ws.point * item : 0);
      if (!own) return ok.store(false, std::memory_order_relaxed);
      for (int64_t unit = begin; unit < end; ++unit) {
        float* const m = local ? own.at<float>(0) : sums.at<float>(0) + unit * weights_ * ws.point;
        for (int64_t weight = 0; local && weight < weights_; ++weight)
          multiply(v, h, unit, weight, tiles_, m, false);
        store_weight(m, ws, part_of(o, parts, unit / panels), unit % panels * k_.panel, group);
      }
    });
    return ok.load();
  }
};

bool applies(const ConvParams& p, const View* v, int64_t taps, int64_t stride) {
  if (v[0].dtype == DType::f64 || p.in[0] != 1 || p.out[0] != 1 || p.kernel[0] != 1) return false;
  for (int i = 1; i < 3; ++i)
    if (p.kernel[i] != taps || p.stride[i] != stride || p.dilation[i] > kFar) return false;
  return p.op == ConvOp::grad_weight || v[0].strides[4] == itemsize(v[0].dtype) ||
         v[0].strides[1] == itemsize(v[0].dtype);
}

}  // namespace

bool is_winograd3(const ConvParams& p, const View* v) { return applies(p, v, 3, 1); }
bool is_winograd5(const ConvParams& p, const View* v) { return applies(p, v, 5, 1); }
bool is_winograd3_by_2(const ConvParams& p, const View* v) {
  if (!applies(p, v, 3, 2) || p.dilation[1] != 1 || p.dilation[2] != 1) return false;
  // Tiles of the gradient of the input begin where only tap 1 reaches.
  return p.op != ConvOp::grad_input || (p.before[1] % 2 == 1 && p.before[2] % 2 == 1);
}

int64_t winograd_floats(const ConvParams& p, const View* v, const char* name) {
  const WinogradKernels& k = *kernels().winograd;
  const auto of = [&](const WinogradTable& t) { return Winograd(p, v, t).weight_floats(); };
  if (std::strcmp(name, "winograd_2x3") == 0) return of(k.two_three);
  if (std::strcmp(name, "winograd_4x3") == 0) return of(k.four_three);
  if (std::strcmp(name, "winograd_2x5") == 0) return of(k.two_five);
  if (std::strcmp(name, "winograd_4x3_by_2") == 0) return of(k.four_three_by_2);
  return 0;
}

bool conv_winograd_2x3(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->two_three).run();
}
bool conv_winograd_4x3(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->four_three).run();
}
bool conv_winograd_4x3_by_2(const ConvParams& p, const View* v) {
  const WinogradKernels& k = *kernels().winograd;
  return Winograd(p, v, p.op == ConvOp::grad_input ? k.four_three_by_2_back : k.four_three_by_2)
      .run();
}
bool conv_winograd_2x5(const ConvParams& p, const View* v) {
  return Winograd(p, v, kernels().winograd->two_five).run();
}

}  // namespace tg

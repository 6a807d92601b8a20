// The loops of a correlation. An item of work is one box of one image and a bundle of groups; its
// source is lowered one block of channels at a time and multiplied in place by register tiles.
#include "ops/conv/correlate.h"

#include <algorithm>
#include <atomic>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/finish.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kLoweredBytes = 384 << 10;  // of one box: most of a second-level cache
constexpr int64_t kStagedBytes = 512 << 10;   // of results that cannot be written in place
constexpr int64_t kBundleChannels = 16;       // channels that share a cache line of channels_last
constexpr int64_t kPanelTiles = 4;      // so many tiles are worth a copy of their columns, aligned
constexpr double kPerThread = 1 << 19;  // multiply-adds worth waking a thread for
constexpr int64_t kTerms = 256;         // of a block

template <class T>
class Correlator {
 public:
  Correlator(const Correlation<T>& c, const GemmTable<T>& t)
      : c_(c),
        t_(t),
        taps_(int64_t(c.w_tap.size())),
        per_block_(std::min(std::max<int64_t>(1, kTerms / taps_), c.src_channels)),
        blocks_(ceil_div(c.src_channels, per_block_)),
        tiles_(ceil_div(c.dst_channels, t.rows)),
        planar_src_(is_planar<T>(c.src.view)),
        in_place_(writes_in_place()),
        bundle_(bundle_size()),
        lowering_(lowering()),
        direct_(in_place_ && lowering_.images == 1),
        boxes_(lowering_,
               int64_t(sizeof(T)) * (times(per_block_, lowering_.planes()) + staged_channels()),
               kLoweredBytes,
               direct_ ? INT64_MAX
                       : std::max<int64_t>(
                             1, kStagedBytes / int64_t(sizeof(T)) / (bundle_ * c.dst_channels))) {
    const int64_t items =
        ceil_div(c.n, lowering_.images) * ceil_div(c.groups, bundle_) * boxes_.count();
    // One image alone is shared by its channels; each thread then lowers the source for itself.
    const int64_t wanted = ceil_div(2 * num_threads(), items);
    tile_parts_ = bundle_ == 1 && items < 2 * num_threads()
                      ? std::max<int64_t>(1, std::min(wanted, tiles_ / 2))
                      : 1;
    items_ = items * tile_parts_;
  }

  bool run() {
    const Scratch weights(
        bytes_of<T>(times(times(c_.groups * c_.dst_channels, c_.src_channels), taps_)));
    if (!weights) return false;
    packed_ = weights.template at<T>(0);
    parallel_for(c_.groups * blocks_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pack_weights(i / blocks_, i % blocks_);
    });
    const double positions =
        double(boxes_.largest()[0]) * double(boxes_.largest()[1]) * double(boxes_.largest()[2]);
    const double work = positions * double(bundle_) * double(c_.dst_channels) *
                        double(c_.src_channels) * double(taps_) / double(tile_parts_);
    std::atomic<bool> ok{true};
    parallel_for(items_, int64_t(kPerThread / (work + 1)) + 1, [&](int64_t begin, int64_t end) {
      if (!run_items(begin, end)) ok.store(false, std::memory_order_relaxed);
    });
    return ok.load();
  }

 private:
  // Positions follow each other in memory, as the columns of a tile do.
  bool writes_in_place() const {
    const View& d = c_.dst;
    if (!is_planar<T>(d)) return false;
    const int64_t item = sizeof(T), width = c_.taps[2].count;
    if (c_.taps[1].count > 1 && d.strides[3] != width * item) return false;
    return true;
  }

  int64_t bundle_size() const {
    const bool channels_last = !planar_src_ || !in_place_;
    if (c_.groups == 1 || !channels_last) return 1;
    const int64_t fewer = std::min(c_.src_channels, c_.dst_channels);
    return std::min(c_.groups, ceil_div(kBundleChannels, fewer));
  }

  // Source channels that are converted at a time.
  int64_t staged_channels() const {
    return planar_src_ ? 0 : bundle_ == 1 ? per_block_ : bundle_ * c_.src_channels;
  }

  // Full tiles of two vectors take a cycle per row and term, and partial ones not much less.
  Lowering lowering() const {
    if (bundle_ > 1) return lower_shared(c_.taps);
    const double rows = double(c_.dst_channels), channels = double(c_.src_channels);
    return plan_lowering(
        c_.taps, c_.n, t_.lanes,
        [&](int64_t run) { return rows * double(ceil_div(run, t_.narrow)) / 2; },
        in_place_ ? 2 * rows / double(t_.lanes) / channels : 0);
  }

  T* packed_block(int64_t group, int64_t block) const {
    return packed_ + (group * c_.src_channels + block * per_block_) * taps_ * c_.dst_channels;
  }
  int64_t channels_of(int64_t block) const {
    return std::min(per_block_, c_.src_channels - block * per_block_);
  }

  // Panels of tiles, each [term][row of the tile]; a term is (channel, tap).
  void pack_weights(int64_t group, int64_t block) {
    T* dst = packed_block(group, block);
    const int64_t channels = channels_of(block);
    bool in_order = true;
    for (int64_t t = 0; t < taps_; ++t) in_order = in_order && c_.w_tap[t] == t;
    // Terms that follow each other in memory: all of them, or the taps of one channel.
    const bool whole = in_order && c_.w_src == taps_;
    const int64_t runs = whole ? 1 : channels, length = whole ? channels * taps_ : taps_;
    for (int64_t q = 0; q < tiles_; ++q) {
      const Part tile = part_of(c_.dst_channels, tiles_, q);
      const T* w =
          c_.w + group * c_.w_group + tile.begin * c_.w_dst + block * per_block_ * c_.w_src;
      if (!in_order || c_.w_dst == 1) {  // tap by tap, channels apart
        for (int64_t t = 0; t < taps_; ++t)
          t_.pack(dst + t * tile.count, taps_ * tile.count, w + c_.w_tap[t], c_.w_dst, c_.w_src,
                  tile.count, channels);
        dst += channels * taps_ * tile.count;
        continue;
      }
      for (int64_t s = 0; s < runs; ++s, w += c_.w_src, dst += length * tile.count)
        t_.pack(dst, tile.count, w, c_.w_dst, 1, tile.count, length);
    }
  }

  struct Space {  // the working memory of one thread
    T *lowered, *image, *staged, *panel;
    int64_t *offsets, *panel_offsets;
    LoweredBox box;  // the box at hand
  };

  bool run_items(int64_t begin, int64_t end) const {
    const int64_t terms = per_block_ * taps_;
    // Tiles read whole vectors past the last position.
    const int64_t lowered = bytes_of<T>(
        times(per_block_, LoweredBox::channel_size(lowering_, boxes_.largest())) + t_.wide);
    const int64_t rows = planar_src_ ? 0 : most_source_rows(lowering_, boxes_);
    const int64_t image = bytes_of<T>(times(times(staged_channels(), rows), c_.src.view.shape[4]));
    const int64_t* counts = boxes_.largest();
    const int64_t staged = direct_ ? 0
                                   : bytes_of<T>(times(bundle_ * c_.dst_channels * lowering_.images,
                                                       counts[0] * counts[1] * counts[2]));
    const int64_t panel = bytes_of<T>(times(terms, t_.full));
    const Scratch scratch(lowered + image + staged + panel + bytes_of<int64_t>(2 * terms));
    if (!scratch) return false;
    Space space;
    space.lowered = scratch.template at<T>(0);
    space.image = scratch.template at<T>(lowered);
    space.staged = scratch.template at<T>(lowered + image);
    space.panel = scratch.template at<T>(lowered + image + staged);
    space.offsets = scratch.template at<int64_t>(lowered + image + staged + panel);
    space.panel_offsets = space.offsets + terms;
    for (int64_t k = 0; k < terms; ++k) space.panel_offsets[k] = k * t_.full;
    for (int64_t i = begin; i < end; ++i) run_item(i, &space);
    return true;
  }

  void run_item(int64_t index, Space* working) const {
    Space& space = *working;
    const Part tiles = part_of(tiles_, tile_parts_, index % tile_parts_);
    index /= tile_parts_;
    const int64_t which = index % boxes_.count();
    index /= boxes_.count();
    const int64_t bundles = ceil_div(c_.groups, bundle_);
    const int64_t first = index % bundles * bundle_, n = index / bundles * lowering_.images;
    const int64_t images = std::min(lowering_.images, c_.n - n);
    const int64_t groups = std::min(bundle_, c_.groups - first);
    LoweredBox& box = space.box;
    if (box.index != which || box.images != images) {
      box = LoweredBox(lowering_, boxes_, which, images);
      for (int64_t s = 0; s < per_block_; ++s)
        for (int64_t t = 0; t < taps_; ++t)
          space.offsets[s * taps_ + t] = s * box.channel + box.taps[t];
    }
    Planar<T> image{};
    if (bundle_ > 1)
      image =
          planar(c_.src, n, first * c_.src_channels, groups * c_.src_channels, box, space.image);
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t b = 0; b < blocks_; ++b) {
        const int64_t channel = b * per_block_, channels = channels_of(b);
        for (int64_t i = 0; i < images; ++i) {
          Planar<T> part = image;
          if (bundle_ > 1)
            part.data += (g * c_.src_channels + channel) * part.channel;
          else
            part = planar(c_.src, n + i, first * c_.src_channels + channel, channels, box,
                          space.image);
          lower(part, channels, lowering_.axes, box, space.lowered + i * box.image, t_);
        }
        fill_zero(space.lowered + channels * box.channel, t_.wide);
        multiply(n, first + g, g, b, tiles, space);
      }
    if (!direct_) write_out(n, images, first, groups, tiles, box.box, space.staged);
  }

  // All tiles of one block of terms.
  void multiply(int64_t n, int64_t group, int64_t in_bundle, int64_t block, Part tiles,
                const Space& space) const {
    const LoweredBox& lowered = space.box;
    const Box& box = lowered.box;
    const int64_t item = sizeof(T), pitch = box.size() * lowered.images;
    const bool one_run = !direct_ && lowering_.one_run();
    const int64_t runs = one_run ? 1 : box.count[0];
    const int64_t positions = one_run ? pitch : box.count[1] * box.count[2];
    TileArgs<T> args;
    args.k = channels_of(block) * taps_;
    args.ldc = direct_ ? c_.dst.strides[1] / item : pitch;
    const bool wide = c_.dst_channels <= t_.wide_rows;
    const T* const weights = packed_block(group, block);
    for (int64_t z = 0; z < runs; ++z) {
      T* c;
      if (direct_)
        c = reinterpret_cast<T*>(c_.dst.data + n * c_.dst.strides[0] +
                                 group * c_.dst_channels * c_.dst.strides[1] +
                                 (box.begin[0] + z) * c_.dst.strides[2] +
                                 box.begin[1] * c_.dst.strides[3] + box.begin[2] * item);
      else
        c = space.staged + in_bundle * c_.dst_channels * pitch + z * positions;
      for (int64_t j = 0, width; j < positions; j += width) {
        const int64_t left = positions - j;
        width = wide && left > t_.full ? t_.wide : left > t_.narrow ? t_.full : t_.narrow;
        const auto* kernels = width == t_.wide   ? t_.tile_wide
                              : width == t_.full ? t_.tile_full
                                                 : t_.tile_narrow;
        args.n = std::min(left, width);
        args.b = space.lowered + z * lowered.rows_y * lowered.row + j;
        args.offset = space.offsets;
        if (one_run && tiles.count >= kPanelTiles && width == t_.full) {
          t_.gather(space.panel, t_.full, args.b, space.offsets, args.k);
          args.b = space.panel;
          args.offset = space.panel_offsets;
        }
        for (int64_t q = tiles.begin; q < tiles.end(); ++q) {
          const Part tile = part_of(c_.dst_channels, tiles_, q);
          args.a = weights + tile.begin * args.k;
          args.c = c + tile.begin * args.ldc + j;
          args.add = nullptr;
          args.add_row = 0;
          args.add_lanes = false;
          if (block > 0) {
            args.add = args.c;
            args.add_row = args.ldc;
            args.add_lanes = true;
          } else if (c_.bias != nullptr) {
            args.add = c_.bias + group * c_.dst_channels + tile.begin;
            args.add_row = 1;
          }
          kernels[tile.count - 1](args);
        }
      }
      if (block + 1 < blocks_) continue;
      const int64_t first = part_of(c_.dst_channels, tiles_, tiles.begin).begin;
      const int64_t end = part_of(c_.dst_channels, tiles_, tiles.end() - 1).end();
      finish(c_.then, c + first * args.ldc, args.ldc, end - first, positions);
    }
  }

  void write_out(int64_t n, int64_t images, int64_t first, int64_t groups, Part tiles,
                 const Box& box, const T* staged) const {
    const Part low = part_of(c_.dst_channels, tiles_, tiles.begin),
               high = part_of(c_.dst_channels, tiles_, tiles.end() - 1);
    // Several groups are only bundled where every item has all their channels.
    const int64_t begin = low.begin;
    const int64_t channels = groups > 1 ? groups * c_.dst_channels : high.end() - low.begin;
    const int64_t pitch = images * box.size();
    for (int64_t i = 0; i < images; ++i)
      write_image(n + i, first * c_.dst_channels + begin, channels, box,
                  staged + begin * pitch + i * box.size(), pitch);
  }

  void write_image(int64_t n, int64_t channel, int64_t channels, const Box& box, const T* staged,
                   int64_t pitch) const {
    const View& d = c_.dst;
    dispatch_float("conv", d.dtype, [&](auto tag) {
      using S = typename decltype(tag)::type;
      // Rows that follow each other are one row.
      const bool merged = d.strides[3] == box.count[2] * d.strides[4];
      const int64_t rows = merged ? 1 : box.count[1];
      const int64_t width = merged ? box.count[1] * box.count[2] : box.count[2];
      for (int64_t z = 0; z < box.count[0]; ++z)
        for (int64_t y = 0; y < rows; ++y) {
          const T* from = staged + (z * rows + y) * width;
          char* to = d.data + n * d.strides[0] + channel * d.strides[1] +
                     (box.begin[0] + z) * d.strides[2] + (box.begin[1] + y) * d.strides[3] +
                     box.begin[2] * d.strides[4];
          if constexpr (std::is_same_v<S, T>) {
            if (d.strides[1] == sizeof(S)) {  // channels_last: lanes are channels
              t_.pack(reinterpret_cast<T*>(to), d.strides[4] / int64_t(sizeof(S)), from, pitch, 1,
                      channels, width);
              continue;
            }
            if (d.strides[4] == sizeof(S)) {  // rows in memory order
              t_.copy_rows({reinterpret_cast<T*>(to), d.strides[1] / int64_t(sizeof(S)), from,
                            pitch, 1, channels, 0, width, 0});
              continue;
            }
          }
          if constexpr (sizeof(S) == 2 && sizeof(T) == 4)
            if (d.strides[4] == sizeof(S)) {
              const auto narrow = half_table(*kernels().gemm, S()).narrow;
              for (int64_t c = 0; c < channels; ++c)
                narrow(reinterpret_cast<S*>(to + c * d.strides[1]), from + c * pitch, width);
              continue;
            }
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t x = 0; x < width; ++x)
              *reinterpret_cast<S*>(to + c * d.strides[1] + x * d.strides[4]) =
                  compute<S>::store(compute_t<S>(from[c * pitch + x]));
        }
    });
  }

  const Correlation<T>& c_;
  const GemmTable<T>& t_;
  const int64_t taps_, per_block_, blocks_, tiles_;
  const bool planar_src_, in_place_;
  const int64_t bundle_;
  const Lowering lowering_;
  const bool direct_;
  const Boxes boxes_;
  int64_t tile_parts_, items_;
  T* packed_ = nullptr;
};

}  // namespace

template <class T>
bool correlate(const Correlation<T>& c) {
  const GemmTable<T>* table = &gemm_table(*kernels().gemm, T());
  if constexpr (std::is_same_v<T, float>)
    if (c.src.pairs != Source::none) table = &kernels().gemm->pairs->gemm;
  return Correlator<T>(c, *table).run();
}

template bool correlate<float>(const Correlation<float>&);
template bool correlate<double>(const Correlation<double>&);

}  // namespace tg

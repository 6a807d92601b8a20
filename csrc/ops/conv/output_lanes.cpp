// Few input channels, many output channels: lanes are output channels. A tap of a weight is a
// vector, and the image, padded and with its strides taken out, is read where it lies: every
// position is one factor of that vector, so that neither rows nor positions leave lanes empty.
#include <algorithm>
#include <atomic>

#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/isa/gemm_kernels.h"
#include "cpu/isa/kernels.h"
#include "ops/conv/conv.h"
#include "ops/conv/lower.h"

namespace tg {
namespace {

constexpr int64_t kLoweredBytes = 128 << 10;  // of one box, which taps read again and again
constexpr int64_t kStagedBytes = 8 << 10;     // of results before they are turned over
constexpr int64_t kPositions = 1024;          // of one box of a gradient: their g is in a cache
constexpr int64_t kSlices = 16;               // of all boxes, with sums of their own
constexpr int64_t kMostTerms = 512;           // of one chain of sums
constexpr double kPerThread = 1 << 19;        // multiply-adds worth waking a thread for

// The forward pass, or the gradient of the input without strides, which is one with c and o
// exchanged and the taps read backwards.
template <class T>
class LaneCorrelation {
 public:
  LaneCorrelation(const ConvParams& p, const View* v, const GemmTable<T>& t)
      : p_(p),
        y_(v[0]),
        w_(v[2]),
        bias_(v[3]),
        t_(t),
        forward_(p.op == ConvOp::forward),
        src_(forward_ ? p.c : p.o),
        dst_(forward_ ? p.o : p.c),
        terms_(src_ * p.taps()) {
    for (int i = 0; i < 3; ++i) {
      AxisTaps taps = taps_of(p, i);
      if (!forward_) {
        taps.count = p.in[i];
        taps.size = p.out[i];
        for (int64_t& at : taps.at) at = -at;
      }
      lowering_.axes[i] = plan_axis(taps, false);
    }
    source_.view = v[1];
    boxes_ = Boxes(lowering_, times(src_ * int64_t(sizeof(T)), lowering_.planes()), kLoweredBytes,
                   INT64_MAX);
    lanes_ = ceil_div(dst_, t.lanes) * t.lanes;
    last_ = y_.strides[1] == int64_t(sizeof(T)) && dst_ > 1;
  }

  bool run() {
    const bool copied = !is_row_major<T>(w_);
    const int64_t packed = bytes_of<T>(times(terms_, lanes_));
    const Scratch scratch(packed + 2 * bytes_of<T>(lanes_) + (copied ? bytes_of<T>(w_.size()) : 0));
    if (!scratch) return false;
    packed_ = scratch.template at<T>(0);
    add_ = scratch.template at<T>(packed);
    T* const values = scratch.template at<T>(packed + bytes_of<T>(lanes_));
    const T* const w =
        row_major_values(w_, scratch.template at<T>(packed + 2 * bytes_of<T>(lanes_)));
    if (dst_ < lanes_) fill_zero(packed_, terms_ * lanes_);
    fill_zero(add_, lanes_);
    if (forward_ && bias_.data != nullptr) std::copy_n(row_major_values(bias_, values), dst_, add_);
    const int64_t taps = p_.taps();
    for (int64_t o = 0, width; o < dst_; o += width) {
      width = panel_width(o);
      T* const to = packed_ + o * terms_;
      const int64_t count = std::min(width, dst_ - o);
      if (forward_)
        t_.pack(to, width, w + o * terms_, terms_, 1, count, terms_);
      else
        for (int64_t s = 0; s < src_; ++s)
          t_.pack(to + s * taps * width, width, w + (s * dst_ + o) * taps, taps, 1, count, taps);
    }
    const int64_t items = p_.n * boxes_.count();
    const double work = p_.flops() / 2 / double(items);
    std::atomic<bool> ok{true};
    parallel_for(items, int64_t(kPerThread / (work + 1)) + 1, [&](int64_t begin, int64_t end) {
      if (!run_items(begin, end)) ok.store(false, std::memory_order_relaxed);
    });
    return ok.load();
  }

 private:
  // Two vectors, or one where only one is left.
  int64_t panel_width(int64_t o) const { return lanes_ - o >= t_.full ? t_.full : t_.narrow; }

  bool run_items(int64_t begin, int64_t end) const {
    const View& x = source_.view;
    const int64_t* counts = boxes_.largest();
    const int64_t lowered = bytes_of<T>(times(src_, LoweredBox::channel_size(lowering_, counts)));
    const int64_t rows = is_planar<T>(x) ? 0 : most_source_rows(lowering_, boxes_);
    const int64_t image = bytes_of<T>(times(times(src_, rows), x.shape[4]));
    // Rows of positions that are turned over together.
    const int64_t row_bytes = counts[2] * lanes_ * int64_t(sizeof(T));
    const int64_t staged_rows =
        last_ ? 0 : std::min(counts[1], std::max<int64_t>(1, kStagedBytes / row_bytes));
    const int64_t staged = times(staged_rows, row_bytes);
    const Scratch scratch(lowered + image + staged + bytes_of<int64_t>(terms_));
    if (!scratch) return false;
    T* const low = scratch.template at<T>(0);
    T* const stage = scratch.template at<T>(lowered + image);
    int64_t* const offsets = scratch.template at<int64_t>(lowered + image + staged);
    LoweredBox box;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / boxes_.count(), which = i % boxes_.count();
      if (box.index != which) {
        box = LoweredBox(lowering_, boxes_, which, 1);
        for (int64_t c = 0; c < src_; ++c)
          for (int64_t t = 0; t < p_.taps(); ++t)
            offsets[c * p_.taps() + t] = c * box.channel + box.taps[t];
      }
      lower(planar(source_, n, 0, src_, box, scratch.template at<T>(lowered)), src_, lowering_.axes,
            box, low, t_);
      for (int64_t z = 0; z < box.box.count[0]; ++z)
        for (int64_t y = 0, some; y < box.box.count[1]; y += some) {
          some = last_ ? 1 : std::min(staged_rows, box.box.count[1] - y);
          multiply_rows(n, z, y, some, box, low, stage, offsets);
        }
    }
    return true;
  }

  void multiply_rows(int64_t n, int64_t z, int64_t y, int64_t rows, const LoweredBox& b,
                     const T* low, T* stage, const int64_t* offsets) const {
    const int64_t item = sizeof(T), width = b.box.count[2], parts = ceil_div(width, t_.rows);
    char* const at = y_.data + n * y_.strides[0] + (b.box.begin[0] + z) * y_.strides[2] +
                     (b.box.begin[1] + y) * y_.strides[3] + b.box.begin[2] * y_.strides[4];
    TileArgs<T> args;
    args.k = terms_;
    args.offset = offsets;
    args.add_row = 0;
    args.add_lanes = true;
    args.ldc = last_ ? y_.strides[4] / item : lanes_;
    for (int64_t r = 0; r < rows; ++r) {
      const T* const line = low + (z * b.rows_y + y + r) * b.row;
      T* const to = last_ ? reinterpret_cast<T*>(at) : stage + r * width * lanes_;
      for (int64_t o = 0, panel; o < dst_; o += panel) {
        panel = panel_width(o);
        const auto* kernels = panel == t_.full ? t_.lanes_full : t_.lanes_narrow;
        args.b = packed_ + o * terms_;
        args.add = add_ + o;
        args.n = last_ ? std::min(panel, dst_ - o) : panel;
        for (int64_t q = 0; q < parts; ++q) {
          const Part part = part_of(width, parts, q);
          args.a = line + part.begin;
          args.c = to + part.begin * args.ldc + o;
          kernels[part.count - 1](args);
        }
      }
    }
    if (last_) return;
    const bool merged = y_.strides[3] == width * item;
    for (int64_t r = 0; r < (merged ? 1 : rows); ++r)
      t_.pack(reinterpret_cast<T*>(at + r * y_.strides[3]), y_.strides[1] / item,
              stage + r * width * lanes_, lanes_, 1, merged ? rows * width : width, dst_);
  }

  const ConvParams& p_;
  const View &y_, &w_, &bias_;
  const GemmTable<T>& t_;
  const bool forward_;
  const int64_t src_, dst_, terms_;  // channels
  Source source_;
  Lowering lowering_;
  Boxes boxes_;
  int64_t lanes_;  // output channels, up to whole vectors
  bool last_;      // channels of the result are neighbours
  T *packed_ = nullptr, *add_ = nullptr;
};

// gw[o, c, tap] with lanes o: g is turned over, so that a position is a vector of channels, and the
// taps of some rows of a kernel stay in registers for all positions of a box.
template <class T>
class LaneWeightGrad {
 public:
  LaneWeightGrad(const ConvParams& p, const View* v, const GemmTable<T>& t)
      : p_(p), gw_(v[0]), g_(v[1]), t_(t), taps_(p.kernel[2]), tap_rows_(p.c * p.taps() / taps_) {
    for (int i = 0; i < 3; ++i) lowering_.axes[i] = plan_axis(taps_of(p, i), false);
    source_.view = v[2];
    boxes_ = Boxes(lowering_, times(p.c * int64_t(sizeof(T)), lowering_.planes()), kLoweredBytes,
                   kPositions);
    panels_ = ceil_div(p.o, t.lanes);
    sums_ = p.c * p.taps() * panels_ * t.lanes;
    items_ = p.n * boxes_.count();
    slices_ = std::min(kSlices, items_);
    kernels_ = taps_ == 3 ? t.taps3 : taps_ == 5 ? t.taps5 : t.taps7;
    while (together_ < kMaxTapRows && kernels_[together_] != nullptr) ++together_;
  }

  bool run() {
    const Scratch partial(times(slices_, times(sums_, sizeof(T))));
    if (!partial) return false;
    partial_ = partial.template at<T>(0);
    const double work = p_.flops() / 2 / double(slices_);
    std::atomic<bool> ok{true};
    parallel_for(slices_, int64_t(kPerThread / (work + 1)) + 1, [&](int64_t begin, int64_t end) {
      if (!run_slices(begin, end)) ok.store(false, std::memory_order_relaxed);
    });
    if (!ok.load()) return false;
    const int64_t terms = p_.c * p_.taps(), lanes = t_.lanes;
    for (int64_t s = 1; s < slices_; ++s)
      for (int64_t i = 0; i < sums_; ++i) partial_[i] += partial_[s * sums_ + i];
    for (int64_t q = 0; q < panels_; ++q)
      t_.pack(gw_.ptr<T>() + q * lanes * terms, terms, partial_ + q * terms * lanes, lanes, 1,
              terms, std::min(lanes, p_.o - q * lanes));
    return true;
  }

 private:
  bool run_slices(int64_t begin, int64_t end) const {
    const View& x = source_.view;
    const int64_t* counts = boxes_.largest();
    const int64_t lowered = bytes_of<T>(times(p_.c, LoweredBox::channel_size(lowering_, counts)));
    const int64_t rows = is_planar<T>(x) ? 0 : most_source_rows(lowering_, boxes_);
    const int64_t image = bytes_of<T>(times(times(p_.c, rows), x.shape[4]));
    const int64_t turned = bytes_of<T>(times(counts[0] * counts[1] * counts[2], t_.lanes));
    const Scratch scratch(lowered + image + turned + bytes_of<int64_t>(tap_rows_));
    if (!scratch) return false;
    T* const low = scratch.template at<T>(0);
    T* const g = scratch.template at<T>(lowered + image);
    int64_t* const offsets = scratch.template at<int64_t>(lowered + image + turned);
    fill_zero(g, turned / int64_t(sizeof(T)));
    LoweredBox box;
    for (int64_t s = begin; s < end; ++s) {
      T* const sums = partial_ + s * sums_;
      fill_zero(sums, sums_);
      const Part items = part_of(items_, slices_, s);
      for (int64_t i = items.begin; i < items.end(); ++i) {
        const int64_t n = i / boxes_.count(), which = i % boxes_.count();
        if (box.index != which) {
          box = LoweredBox(lowering_, boxes_, which, 1);
          for (int64_t r = 0; r < tap_rows_; ++r) {
            const int64_t per_channel = p_.taps() / taps_;
            offsets[r] = r / per_channel * box.channel + box.taps[r % per_channel * taps_];
          }
        }
        lower(planar(source_, n, 0, p_.c, box, scratch.template at<T>(lowered)), p_.c,
              lowering_.axes, box, low, t_);
        for (int64_t q = 0; q < panels_; ++q) {
          turn(n, q * t_.lanes, box.box, g);
          add_box(box, low, g, offsets, sums + q * p_.c * p_.taps() * t_.lanes);
        }
      }
    }
    return true;
  }

  // Channels from o on as lanes, position by position.
  void turn(int64_t n, int64_t o, const Box& b, T* to) const {
    const int64_t item = sizeof(T), count = std::min(int64_t(t_.lanes), p_.o - o);
    const bool merged = g_.strides[3] == b.count[2] * g_.strides[4];
    const int64_t rows = merged ? 1 : b.count[1];
    const int64_t run = merged ? b.count[1] * b.count[2] : b.count[2];
    for (int64_t z = 0; z < b.count[0]; ++z)
      for (int64_t y = 0; y < rows; ++y, to += run * t_.lanes) {
        const char* from = g_.data + n * g_.strides[0] + o * g_.strides[1] +
                           (b.begin[0] + z) * g_.strides[2] + (b.begin[1] + y) * g_.strides[3] +
                           b.begin[2] * g_.strides[4];
        t_.pack(to, t_.lanes, reinterpret_cast<const T*>(from), g_.strides[1] / item,
                g_.strides[4] / item, count, run);
      }
  }

  void add_box(const LoweredBox& b, const T* low, const T* g, const int64_t* offsets,
               T* sums) const {
    const int64_t groups = ceil_div(tap_rows_, together_), slice = b.box.count[1] * b.box.count[2];
    TapSums<T> args;
    args.rows = b.box.count[1];
    args.width = b.box.count[2];
    args.a_pitch = b.row;
    args.ld = t_.lanes;
    for (int64_t q = 0; q < groups; ++q) {
      const Part rows = part_of(tap_rows_, groups, q);
      args.a_offset = offsets + rows.begin;
      args.out = sums + rows.begin * taps_ * t_.lanes;
      for (int64_t z = 0; z < b.box.count[0]; ++z) {
        args.a = low + z * b.rows_y * b.row;
        args.b = g + z * slice * t_.lanes;
        kernels_[rows.count - 1](args);
      }
    }
  }

  const ConvParams& p_;
  const View &gw_, &g_;
  const GemmTable<T>& t_;
  const int64_t taps_, tap_rows_;  // of a row of the kernel, rows of all channels
  void (*const* kernels_)(const TapSums<T>&) = nullptr;
  int64_t together_ = 0;  // rows that share the lanes of g
  Source source_;
  Lowering lowering_;
  Boxes boxes_;
  int64_t panels_, sums_, items_, slices_;
  T* partial_ = nullptr;
};

template <class T>
bool run(const ConvParams& p, const View* v) {
  const GemmTable<T>& t = gemm_table(*kernels().gemm, T());
  return p.op == ConvOp::grad_weight ? LaneWeightGrad<T>(p, v, t).run()
                                     : LaneCorrelation<T>(p, v, t).run();
}

}  // namespace

bool is_output_lanes(const ConvParams& p, const View* v) {
  const int64_t item = itemsize(v[0].dtype), row = p.kernel[2];
  const int64_t terms = (p.op == ConvOp::grad_input ? p.o : p.c) * p.taps();
  if (p.groups != 1 || item < 4 || terms > kMostTerms) return false;
  if (p.op == ConvOp::grad_weight)
    return (row == 3 || row == 5 || row == 7) && p.stride[2] == 1 && p.dilation[2] == 1;
  if (p.op == ConvOp::grad_input && times(times(p.stride[0], p.stride[1]), p.stride[2]) > 1)
    return false;
  return v[0].strides[4] == item || v[0].strides[1] == item;
}

bool conv_output_lanes(const ConvParams& p, const View* v) {
  return v[0].dtype == DType::f64 ? run<double>(p, v) : run<float>(p, v);
}

}  // namespace tg

#include "ops/conv/lower.h"

#include <algorithm>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "core/parts.h"
#include "cpu/gemm_half.h"
#include "cpu/isa/kernels.h"

namespace tg {
namespace {

constexpr int64_t kGrain = 1 << 15;  // values worth a thread

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

template <class T>
DType dtype_of_value() {
  return sizeof(T) == 4 ? DType::f32 : DType::f64;
}

// dst[c * ld + i] = position i of channel c of an image and of the next one.
void join_images(float* dst, int64_t ld, const bfloat16* src, const bfloat16* next, int64_t step,
                 int64_t channel, int64_t positions, int64_t channels) {
  constexpr int64_t kPositions = 16, kChannels = 64;
  const auto join = kernels().gemm->pairs->join;
  const auto after = [&](int64_t i) { return next == nullptr ? nullptr : next + i; };
  if (step == 1 || channel != 1) {
    const int64_t run = step == 1 ? positions : 1;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < positions; i += run) {
        const int64_t at = c * channel + i * step;
        join(dst + c * ld + i, src + at, after(at), run);
      }
    return;
  }
  float block[kPositions * kChannels];
  for (int64_t i = 0; i < positions; i += kPositions)
    for (int64_t c = 0; c < channels; c += kChannels) {
      const int64_t rows = std::min(kPositions, positions - i);
      const int64_t cols = std::min(kChannels, channels - c);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = (i + r) * step + c;
        join(block + r * kChannels, src + at, after(at), cols);
      }
      kernels().gemm->f32.pack(dst + c * ld + i, ld, block, kChannels, 1, rows, cols);
    }
}

// The elements of v in row-major order.
template <class S, class F>
void each_value(const View& v, F&& f) {
  int64_t index[kMaxDims] = {0};
  for (int64_t left = v.size(); left > 0; --left) {
    const char* from = v.data;
    for (int i = 0; i < v.ndim; ++i) from += index[i] * v.strides[i];
    f(*reinterpret_cast<const S*>(from));
    for (int i = v.ndim - 1; i >= 0 && ++index[i] == v.shape[i]; --i) index[i] = 0;
  }
}

// Rows r of count, at coordinate at + (begin + r) * step, that lie in [0, size).
Inside rows_inside(int64_t at, int64_t step, int64_t size, int64_t begin, int64_t count) {
  const int64_t low = -floor_div(at, step), high = size > 0 ? floor_div(size - 1 - at, step) : -1;
  Inside i;
  i.first = std::min(std::max(low - begin, int64_t(0)), count);
  i.last = std::min(std::max(high + 1 - begin, i.first), count);
  return i;
}

}  // namespace

AxisTaps taps_of(const ConvParams& p, int axis) {
  AxisTaps a;
  a.count = p.out[axis];
  a.step = p.stride[axis];
  a.size = p.in[axis];
  for (int64_t t = 0; t < p.kernel[axis]; ++t) {
    a.tap.push_back(t);
    a.at.push_back(tap_at(p, axis, t));
  }
  return a;
}

AxisPlan plan_axis(const AxisTaps& taps, bool alone) {
  const std::vector<int64_t>& at = taps.at;
  const int64_t count = taps.count, step = taps.step;
  AxisPlan a;
  a.count = count;
  a.step = step;
  a.size = taps.size;
  a.tap = taps.tap;
  const size_t n = at.size();
  int64_t low = 0, high = 0;
  std::vector<int64_t> residues;
  for (size_t i = 0; i < n; ++i) {
    const int64_t q = floor_div(at[i], step);
    low = i == 0 ? q : std::min(low, q);
    high = i == 0 ? q : std::max(high, q);
    residues.push_back(at[i] - q * step);
  }
  std::vector<int64_t> distinct = residues;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const double shared = double(distinct.size()) * (double(count) + double(high - low));
  if (alone || shared > double(n) * double(count)) {
    for (size_t i = 0; i < n; ++i) {
      a.plane.push_back(int64_t(i));
      a.row.push_back(0);
      a.origin.push_back(at[i]);
    }
    return a;
  }
  a.halo = high - low;
  for (int64_t r : distinct) a.origin.push_back(r + low * step);
  for (size_t i = 0; i < n; ++i) {
    a.plane.push_back(std::lower_bound(distinct.begin(), distinct.end(), residues[i]) -
                      distinct.begin());
    a.row.push_back(floor_div(at[i], step) - low);
  }
  return a;
}

Lowering lower_shared(const AxisTaps* taps) {
  Lowering l;
  for (int i = 0; i < 3; ++i) l.axes[i] = plan_axis(taps[i], i == 2);
  return l;
}

Lowering lower_apart(const AxisTaps* taps, int64_t n) {
  constexpr int64_t kRun = 512;  // positions: the tail of a run weighs little
  Lowering l;
  for (int i = 0; i < 3; ++i) l.axes[i] = plan_axis(taps[i], true);
  const int64_t positions = times(times(taps[0].count, taps[1].count), taps[2].count);
  l.images = std::min(n, (kRun + positions - 1) / positions);
  return l;
}

Lowering plan_lowering(const AxisTaps* taps, int64_t n, int64_t lanes,
                       const std::function<double(int64_t)>& run_cost, double gather_cost) {
  Lowering shared = lower_shared(taps), apart = lower_apart(taps, n);
  const AxisPlan &z = shared.axes[0], &y = shared.axes[1], &x = shared.axes[2];
  const double row = 3 + 1.5 * double((x.count + lanes - 1) / lanes);  // cycles to copy one
  const double count = double(z.taps()) * double(y.taps()) * double(x.taps());
  const double plane = double(y.count) * double(x.count), positions = double(z.count) * plane;
  const double shared_rows =
      double(shared.planes()) * double(z.count + z.halo) * double(y.count + y.halo);
  const double shared_cost =
      shared_rows * row + count * double(z.count) * run_cost(times(y.count, x.count));
  const int64_t run = times(times(z.count, y.count), times(x.count, apart.images));
  // Planes that lie far apart cost the caches and the address translation a little.
  const double apart_cost = count * double(z.count) * double(y.count) * row +
                            1.05 * count * run_cost(run) / double(apart.images) +
                            (apart.images > 1 ? gather_cost * positions : 0);
  return apart_cost < shared_cost ? apart : shared;
}

Boxes::Boxes(const Lowering& l, int64_t per_position, int64_t bytes, int64_t most_positions) {
  const AxisPlan* axes = l.axes;
  for (int i = 0; i < 3; ++i) {
    total_[i] = axes[i].count;
    parts_[i] = 1;
    largest_[i] = total_[i];
  }
  const auto too_large = [&] {
    double stored = double(per_position) * double(l.images), positions = double(l.images);
    for (int i = 0; i < 3; ++i) {
      stored *= double(largest_[i] + axes[i].halo);
      positions *= double(largest_[i]);
    }
    return stored > double(bytes) || positions > double(most_positions);
  };
  // Slices and rows are cut before the innermost axis, which keeps at least four vectors.
  while (too_large()) {
    int cut = largest_[0] >= largest_[1] ? 0 : 1;
    if (largest_[cut] == 1) cut = 2;
    if (cut == 2 && largest_[2] <= 64) break;
    parts_[cut] = std::min(total_[cut], 2 * parts_[cut]);
    largest_[cut] = (total_[cut] + parts_[cut] - 1) / parts_[cut];
  }
}

Box Boxes::at(int64_t index) const {
  Box b;
  for (int i = 2; i >= 0; --i) {
    const int64_t part = index % parts_[i], base = total_[i] / parts_[i],
                  longer = total_[i] % parts_[i];
    index /= parts_[i];
    b.begin[i] = part * base + std::min(part, longer);
    b.count[i] = base + (part < longer);
  }
  return b;
}

LoweredBox::LoweredBox(const Lowering& l, const Boxes& boxes, int64_t index_, int64_t images_)
    : index(index_), images(images_), box(boxes.at(index_)) {
  const AxisPlan &z = l.axes[0], &y = l.axes[1], &x = l.axes[2];
  int64_t rows[3], low[3], high[3];
  for (int i = 0; i < 3; ++i) {
    const AxisPlan& a = l.axes[i];
    rows[i] = box.count[i] + a.halo;
    for (int64_t at : a.origin)
      inside[i].push_back(rows_inside(at, a.step, a.size, box.begin[i], rows[i]));
    const auto ends = std::minmax_element(a.origin.begin(), a.origin.end());
    low[i] = std::min(std::max(*ends.first + box.begin[i] * a.step, int64_t(0)), a.size);
    high[i] = std::min(std::max(*ends.second + (box.begin[i] + rows[i] - 1) * a.step + 1, low[i]),
                       a.size);
  }
  z0 = low[0], z1 = high[0], y0 = low[1], y1 = high[1];
  rows_z = rows[0], rows_y = rows[1], row = rows[2];
  image = times(times(rows_z, rows_y), row);
  plane = times(image, images);
  channel = times(plane, l.planes());
  for (int64_t i = 0; i < z.taps(); ++i)
    for (int64_t j = 0; j < y.taps(); ++j)
      for (int64_t k = 0; k < x.taps(); ++k)
        taps.push_back(((z.plane[i] * y.planes() + y.plane[j]) * x.planes() + x.plane[k]) * plane +
                       (z.row[i] * rows_y + y.row[j]) * row + x.row[k]);
}

int64_t LoweredBox::channel_size(const Lowering& l, const int64_t* counts) {
  int64_t n = times(l.planes(), l.images);
  for (int i = 0; i < 3; ++i) n = times(n, counts[i] + l.axes[i].halo);
  return n;
}

int64_t LoweredBox::source_rows() const { return times(z1 - z0, y1 - y0); }

int64_t most_source_rows(const Lowering& l, const Boxes& boxes) {
  int64_t rows = 0;
  for (int64_t i = 0; i < boxes.count(); ++i)
    rows = std::max(rows, LoweredBox(l, boxes, i, 1).source_rows());
  return rows;
}

template <class T>
bool is_planar(const View& v) {
  return v.dtype == dtype_of_value<T>() && (v.shape[4] == 1 || v.strides[4] == sizeof(T));
}

template <class T>
bool is_row_major(const View& v) {
  return v.dtype == dtype_of_value<T>() && v.row_major();
}

template <class T>
Planar<T> planar(const Source& s, int64_t n, int64_t first, int64_t channels, const LoweredBox& box,
                 T* buffer) {
  const View& v = s.view;
  const int64_t item = itemsize(v.dtype), each_c = s.pairs == Source::channels ? 2 : 1;
  const int64_t image_n = s.pairs == Source::images ? 2 * n : n;
  const char* base = v.data + image_n * v.strides[0] + first * each_c * v.strides[1];
  if (is_planar<T>(v))
    return {reinterpret_cast<const T*>(base), v.strides[1] / item, v.strides[2] / item,
            v.strides[3] / item};
  const int64_t width = v.shape[4], line = width, slice = line * (box.y1 - box.y0);
  const int64_t channel = slice * (box.z1 - box.z0);
  const Planar<T> image{buffer - box.z0 * slice - box.y0 * line, channel, slice, line};
  // Rows that follow each other are one.
  const bool merged = width == 1 || v.strides[3] == width * v.strides[4];
  const int64_t rows = merged ? std::min<int64_t>(1, box.y1 - box.y0) : box.y1 - box.y0;
  const int64_t run = merged ? slice : width;
  const int64_t step = (width == 1 ? v.strides[3] : v.strides[4]) / item;
  dispatch_float("conv", v.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    if constexpr (std::is_same_v<compute_t<S>, T>) {
      const Elements<S> elements(s.pairs == Source::channels);
      const int64_t terms = std::min(channels * each_c, v.shape[1] - first * each_c);
      for (int64_t z = box.z0; z < box.z1; ++z)
        for (int64_t y = 0; y < rows; ++y) {
          const S* from =
              reinterpret_cast<const S*>(base + z * v.strides[2] + (box.y0 + y) * v.strides[3]);
          T* to = buffer + (z - box.z0) * slice + y * line;
          if constexpr (std::is_same_v<S, bfloat16>)
            if (s.pairs == Source::images) {
              const S* next = image_n + 1 < v.shape[0] ? from + v.strides[0] / item : nullptr;
              join_images(to, channel, from, next, step, v.strides[1] / item, run, channels);
              continue;
            }
          elements.pack(to, channel, from, step, v.strides[1] / item, run, terms);
        }
    }
  });
  return image;
}

template <class T>
void lower(const Planar<T>& image, int64_t channels, const AxisPlan* axes, const LoweredBox& b,
           T* dst, const GemmTable<T>& table) {
  const AxisPlan &az = axes[0], &ay = axes[1], &ax = axes[2];
  const int64_t slice = b.rows_y * b.row;
  for (int64_t pz = 0; pz < az.planes(); ++pz)
    for (int64_t py = 0; py < ay.planes(); ++py)
      for (int64_t px = 0; px < ax.planes(); ++px, dst += b.plane) {
        const Inside iz = b.inside[0][pz], iy = b.inside[1][py], ix = b.inside[2][px];
        const bool none = iy.first == iy.last || ix.first == ix.last;
        const int64_t y = ay.origin[py] + (b.box.begin[1] + iy.first) * ay.step;
        const int64_t x = ax.origin[px] + (b.box.begin[2] + ix.first) * ax.step;
        const int64_t above = iy.first * b.row, below = (b.rows_y - iy.last) * b.row;
        for (int64_t c = 0; c < channels; ++c) {
          T* to = dst + c * b.channel;
          for (int64_t r = 0; r < b.rows_z; ++r, to += slice) {
            if (none || r < iz.first || r >= iz.last) {
              fill_zero(to, slice);
              continue;
            }
            const int64_t z = az.origin[pz] + (b.box.begin[0] + r) * az.step;
            CopyRows<T> rows{to + above,
                             b.row,
                             image.data + c * image.channel + z * image.slice + y * image.line + x,
                             image.line * ay.step,
                             ax.step,
                             iy.last - iy.first,
                             ix.first,
                             ix.last - ix.first,
                             b.row - ix.last};
            if (b.row == 1) {  // a 1-d signal: its rows are one row
              rows.src_step = rows.src_pitch;
              rows.count = rows.rows;
              rows.rows = 1;
            }
            fill_zero(to, above);
            table.copy_rows(rows);
            fill_zero(to + slice - below, below);
          }
        }
      }
}

template <class T>
const T* row_major_values(const View& v, T* buffer) {
  if (is_row_major<T>(v)) return v.ptr<T>();
  dispatch_float("conv", v.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    if constexpr (sizeof(S) == 2 && sizeof(T) == 4)
      if (v.row_major()) {
        const auto widen = half_table(*kernels().gemm, S()).widen;
        return parallel_for(v.size(), kGrain, [&](int64_t begin, int64_t end) {
          widen(buffer + begin, v.ptr<S>() + begin, end - begin);
        });
      }
    T* to = buffer;
    each_value<S>(v, [&](S x) { *to++ = T(compute<S>::load(x)); });
  });
  return buffer;
}

float value_at(const View& v, int64_t i) {
  float x = 0;
  dispatch_single(v.dtype, [&](auto tag) {
    using S = typename decltype(tag)::type;
    x = compute<S>::load(*reinterpret_cast<const S*>(v.data + i * v.strides[0]));
  });
  return x;
}

void paired_values(const View& v, int64_t outer, int64_t length, float* buffer) {
  const int64_t inner = v.size() / (outer * length), pairs = ceil_div(length, 2);
  if (!v.row_major()) {
    bfloat16* const halves = reinterpret_cast<bfloat16*>(buffer);
    std::fill_n(buffer, outer * pairs * inner, 0.0f);
    int64_t i = 0;
    each_value<bfloat16>(v, [&](bfloat16 x) {
      const int64_t row = i / inner, l = row % length;
      halves[((row / length * pairs + l / 2) * inner + i++ % inner) * 2 + l % 2] = x;
    });
    return;
  }
  const auto join = kernels().gemm->pairs->join;
  const bfloat16* const values = v.ptr<bfloat16>();
  parallel_for(outer * pairs, ceil_div(kGrain, inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t q = i % pairs;
      const bfloat16* low = values + (i / pairs * length + 2 * q) * inner;
      join(buffer + i * inner, low, 2 * q + 1 < length ? low + inner : nullptr, inner);
    }
  });
}

#define TG_INSTANCES(T)                                                                          \
  template bool is_planar<T>(const View&);                                                       \
  template bool is_row_major<T>(const View&);                                                    \
  template Planar<T> planar<T>(const Source&, int64_t, int64_t, int64_t, const LoweredBox&, T*); \
  template void lower<T>(const Planar<T>&, int64_t, const AxisPlan*, const LoweredBox&, T*,      \
                         const GemmTable<T>&);                                                   \
  template const T* row_major_values<T>(const View&, T*);
TG_INSTANCES(float)
TG_INSTANCES(double)
#undef TG_INSTANCES

}  // namespace tg

// Pooling over x (N, C, *in) with 1 to 3 spatial axes: the geometry of the windows, and operands in
// one of two layouts. Inside, every array has five axes (N, C, D, H, W), missing ones of length 1.
#pragma once
#include <vector>

#include "core/array.h"
#include "core/parallel.h"
#include "cpu/isa/row.h"

namespace tg {

struct PoolGeometry {
  bool adaptive;  // window o covers floor(o in / out) to ceil((o + 1) in / out)
  int64_t in[3], out[3], kernel[3], stride[3], before[3], after[3], dilation[3];
};

// Reads and checks the window arguments for an input of the given spatial sizes; rank 1 to 3.
PoolGeometry read_geometry(const char* op, int rank, const int64_t* in, py::handle kernel,
                           py::handle stride, py::handle padding, py::handle dilation,
                           bool ceil_mode);
PoolGeometry adaptive_geometry(const char* op, int rank, const int64_t* in, const int64_t* out);

// "max_pool" and 2 make "max_pool2d", the name a user knows.
struct PoolName {
  char text[36];
  PoolName(const char* family, int rank, const char* suffix = "");
  operator const char*() const { return text; }
};

// Number of spatial axes of x, which must be (N, C, *in) with 1 to 3 of them.
int pool_rank(const char* op, const View& x, const char* name);
// A tuple of rank sizes >= 0.
void read_spatial(const char* op, const char* name, py::handle sizes, int rank, int64_t* out);

// For every position along one axis, the positions of the other side it reads: first, first + step,
// ..., count of them. Positions [begin, end) are alike: first = position / period * advance + a
// constant that depends on position % period, and so is count.
struct AxisTaps {
  std::vector<int64_t> first, count;
  int64_t step = 1, period = 1, advance = 1, begin = 0, end = 0;
};
// Output positions reading input positions.
AxisTaps taps_of_outputs(const PoolGeometry& g, int axis);
// Input positions reading the outputs whose windows cover them.
AxisTaps taps_of_inputs(const PoolGeometry& g, int axis);
// What the windows of an average are divided by along one axis.
std::vector<double> counts_of_outputs(const PoolGeometry& g, int axis, bool include_padding);

// Which axis neighbouring lanes lie along: the last one, or the channels.
enum class Lanes { width, channels };
Lanes lanes_of(const View& x);

// (N, C, *spatial) as (N, C, D, H, W).
View five_axes(const View& x);

// What must be contiguous: the lanes, or everything (positions of a plane follow each other).
enum class Pack { lanes, planes };

// The narrowest type of indices that counts so many positions, and its dtype.
inline PoolIndex pool_index(int64_t positions) {
  return positions <= int64_t(1) << 16  ? kIndex16
         : positions < int64_t(1) << 31 ? kIndex32
                                        : kIndex64;
}
constexpr DType kIndexTypes[kPoolIndices] = {DType::u16, DType::i32, DType::i64};

// x in dtype t, packed, copied where it has to be; five axes.
View pool_operand(const char* op, const View& x, DType t, Lanes lanes, Pack pack, py::object* keep);

// The result in the memory order of like, and where the kernel writes: its own memory, or an array
// in the compute dtype, packed, that finish() moves into it.
struct PoolResult {
  Output out, work;
  PoolResult(const char* op, DType dtype, const View& like, Lanes lanes, const int64_t* spatial,
             Pack pack = Pack::lanes);
  View view() const { return five_axes(work.view); }
  py::object finish() const;
};

// The taps of a window in row-major order, from its first one on.
struct TapList {
  int64_t size[3];  // of the window, which may be cut off at an edge
  int count;
  int64_t bytes[kMostTaps], places[kMostTaps];  // places: in the flat plane
};

// Lists that a thread has made: windows are alike but for the edges.
class TapLists {
 public:
  // What a step along each axis is, in bytes and in places.
  TapLists(const int64_t* bytes, const int64_t* places);
  const TapList& of(int64_t d, int64_t h, int64_t w);

 private:
  static constexpr int kLists = 8;
  int64_t bytes_[3], places_[3];
  int count_ = 0;
  TapList lists_[kLists];
};

// The windows on x by the tables of the axes.
struct PoolWindows {
  AxisTaps axes[3];
  View x;

  int64_t taps(int64_t d, int64_t h, int64_t w) const {  // within the plane: no overflow
    return axes[0].count[d] * axes[1].count[h] * axes[2].count[w];
  }
  const TapList& list(TapLists* lists, int64_t d, int64_t h, int64_t w) const {
    return lists->of(axes[0].count[d], axes[1].count[h], axes[2].count[w]);
  }
  // The first tap of position (d, h, w) in its plane.
  int64_t bytes(int64_t d, int64_t h, int64_t w) const {
    return axes[0].first[d] * x.strides[2] + axes[1].first[h] * x.strides[3] +
           axes[2].first[w] * x.strides[4];
  }
};

constexpr int64_t kRowsWorth = 32768;  // taps worth a thread

// For every thread makes f = make() and calls f(n, c, d, h) for every row of the outputs y that it
// takes, or with c = 0 for the rows of all channels together; cost: of one row.
template <class Make>
void for_output_rows(const View& y, Lanes lanes, int64_t cost, Make&& make) {
  const int64_t c = lanes == Lanes::channels ? 1 : y.shape[1], d = y.shape[2], h = y.shape[3];
  const int64_t grain = kRowsWorth / (cost > 0 ? cost : 1);
  parallel_for(y.shape[0] * c * d * h, grain, [&](int64_t begin, int64_t end) {
    auto f = make();
    int64_t ih = begin % h, id = begin / h % d, ic = begin / h / d % c, in = begin / h / d / c;
    for (int64_t i = begin; i < end; ++i) {
      f(in, ic, id, ih);
      if (++ih < h) continue;
      ih = 0;
      if (++id < d) continue;
      id = 0;
      if (++ic < c) continue;
      ic = 0;
      ++in;
    }
  });
}

py::object max_pool(py::handle x, py::handle kernel, py::handle stride, py::handle padding,
                    py::handle dilation, bool ceil_mode);
py::object adaptive_max_pool(py::handle x, py::handle out_spatial);
py::object max_pool_grad(py::handle g, py::handle indices, py::handle in_spatial);
py::object max_pool_gather(py::handle x, py::handle indices);
py::object avg_pool(py::handle x, py::handle kernel, py::handle stride, py::handle padding,
                    bool ceil_mode, bool count_include_pad, py::handle divisor);
py::object avg_pool_grad(py::handle g, py::handle in_spatial, py::handle kernel, py::handle stride,
                         py::handle padding, bool ceil_mode, bool count_include_pad,
                         py::handle divisor);
py::object adaptive_avg_pool(py::handle x, py::handle out_spatial);
py::object adaptive_avg_pool_grad(py::handle g, py::handle in_spatial);

}  // namespace tg

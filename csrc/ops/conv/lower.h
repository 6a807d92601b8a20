// Padding and strides are taken out of an image once: for every tap of the innermost axis a copy of
// the rows it reads, so that the taps of the other axes are mere offsets into it (Cho and Brand,
// "MEC: Memory-efficient Convolution for Deep Neural Network", 2017).
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "core/view.h"
#include "cpu/gemm.h"
#include "cpu/isa/gemm_kernels.h"
#include "ops/conv/conv.h"

namespace tg {

// One spatial axis of a correlation: position p reads source coordinate at(tap) + p * step.
// Taps whose coordinates differ by a multiple of step share a stored plane.
struct AxisPlan {
  int64_t count = 0;            // positions
  int64_t step = 1, size = 0;   // of the source
  int64_t halo = 0;             // b positions need b + halo stored rows of every plane
  std::vector<int64_t> tap;     // index into the kernel
  std::vector<int64_t> plane;   // per tap: the stored plane
  std::vector<int64_t> row;     // per tap: its first row there
  std::vector<int64_t> origin;  // per plane: source coordinate of row 0

  int64_t taps() const { return int64_t(tap.size()); }
  int64_t planes() const { return int64_t(origin.size()); }
};

// What an axis reads: at holds the source coordinate of each tap at position 0.
struct AxisTaps {
  int64_t count = 0, step = 1, size = 0;
  std::vector<int64_t> tap, at;
};

// The taps of the forward pass.
AxisTaps taps_of(const ConvParams& p, int axis);

// Planes are shared unless alone is set or the taps lie so far apart that a plane each is smaller.
AxisPlan plan_axis(const AxisTaps& taps, bool alone);

// How images are lowered: positions follow each other in runs, over all of a box where every tap
// has a plane of its own, else over one slice; then boxes may hold several images.
struct Lowering {
  AxisPlan axes[3];
  int64_t images = 1;

  int64_t planes() const { return axes[0].planes() * axes[1].planes() * axes[2].planes(); }
  bool one_run() const { return axes[0].halo == 0 && axes[1].halo == 0; }
};
Lowering lower_shared(const AxisTaps* taps);
Lowering lower_apart(const AxisTaps* taps, int64_t n);
// The cheaper one, given the cost in cycles of a run of some length for one tap of one channel, and
// the cost per position of bringing the other operand into the order of several images apart.
Lowering plan_lowering(const AxisTaps* taps, int64_t n, int64_t lanes,
                       const std::function<double(int64_t)>& run_cost, double gather_cost);

// Positions [begin, begin + count) of each axis.
struct Box {
  int64_t begin[3], count[3];
  int64_t size() const { return count[0] * count[1] * count[2]; }
};

// The positions of a correlation, cut into boxes whose lowered source stays in a cache.
class Boxes {
 public:
  Boxes() = default;
  // bytes: what a box may take; per_position: of one stored element over channels and planes.
  Boxes(const Lowering& l, int64_t per_position, int64_t bytes, int64_t most_positions);
  int64_t count() const { return parts_[0] * parts_[1] * parts_[2]; }
  Box at(int64_t index) const;
  // The largest box: every box is at most this long along each axis.
  const int64_t* largest() const { return largest_; }

 private:
  int64_t total_[3], parts_[3], largest_[3];
};

// Positions [first, last) that read inside the image; the others read padding.
struct Inside {
  int64_t first, last;
};

// One box lowered: the layout [channel][plane z, y, x][image][row z][row y][x], and what it reads.
struct LoweredBox {
  int64_t index = -1, images = 0;  // which box; of how many images
  Box box;
  int64_t rows_z, rows_y, row;    // stored rows and their length
  int64_t image, plane, channel;  // elements
  int64_t z0, z1, y0, y1;         // source coordinates [z0, z1) x [y0, y1), and all of x
  std::vector<Inside> inside[3];  // per axis and plane
  std::vector<int64_t> taps;      // offset of every tap (z, y, x row-major) in its channel

  LoweredBox() = default;
  LoweredBox(const Lowering& l, const Boxes& boxes, int64_t index, int64_t images);
  // Elements of one channel of the largest box; stops where memory does.
  static int64_t channel_size(const Lowering& l, const int64_t* counts);
  // Source rows the box reads of one channel.
  int64_t source_rows() const;
};
// The most source rows of any box.
int64_t most_source_rows(const Lowering& l, const Boxes& boxes);

// A planar image: element (c, z, y, x) at data + c * channel + z * slice + y * line + x.
template <class T>
struct Planar {
  const T* data;
  int64_t channel, slice, line;
};

// What is lowered: (n, c, z, y, x), or pairs of bfloat16 that share an element, see PairTable: the
// channels or images 2 i and 2 i + 1. Those of a group are even in number, unless it is alone.
struct Source {
  enum Pairs { none, channels, images };
  View view;
  Pairs pairs = none;
};

// Whether v (n, c, z, y, x) can be read as it lies.
template <class T>
bool is_planar(const View& v);

// Channels [first, first + channels) of image n, as they lie or what the box reads of them
// converted into buffer. Pairs count as one.
template <class T>
Planar<T> planar(const Source& s, int64_t n, int64_t first, int64_t channels, const LoweredBox& box,
                 T* buffer);

// Lowers one image of a box; dst is where its first plane begins.
template <class T>
void lower(const Planar<T>& image, int64_t channels, const AxisPlan* axes, const LoweredBox& box,
           T* dst, const GemmTable<T>& table);

// v as row-major values of T: as it lies, or converted into buffer. Of bfloat16, paired_values
// makes pairs along an axis of v seen as (outer, length, inner), (outer, ceil(length / 2), inner)
// elements.
template <class T>
const T* row_major_values(const View& v, T* buffer);
template <class T>
bool is_row_major(const View& v);
float value_at(const View& v, int64_t i);  // of a vector that is computed in float
void paired_values(const View& v, int64_t outer, int64_t length, float* buffer);

}  // namespace tg

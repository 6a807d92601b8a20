// Iteration over N operands of one broadcast shape, any strides, as few and long rows as possible.
#pragma once
#include <algorithm>
#include <cstdlib>

#include "core/parallel.h"
#include "core/view.h"

namespace tg {

template <int N>
struct Loop {
  int ndim = 0;
  int64_t size = 1;
  int64_t shape[kMaxDims];  // innermost last
  int64_t strides[N][kMaxDims];
  char* data[N];

  int64_t row_length() const { return ndim ? shape[ndim - 1] : 1; }
};

// Operand 0 decides the order of the axes (normally the output); the views must already have one
// shape (broadcast_to).
template <int N>
Loop<N> make_loop(const View* const (&views)[N]) {
  const View& first = *views[0];
  Loop<N> loop;
  int order[kMaxDims], used = 0;
  for (int i = 0; i < first.ndim; ++i) {
    loop.size *= first.shape[i];
    if (first.shape[i] == 1) continue;
    int j = used++;
    for (; j > 0; --j) {
      const int other = order[j - 1];
      const int64_t before = std::llabs(first.strides[other]), here = std::llabs(first.strides[i]);
      if (before > here) break;
      if (before == here && (N == 1 || std::llabs(views[N - 1]->strides[other]) >=
                                           std::llabs(views[N - 1]->strides[i])))
        break;
      order[j] = other;
    }
    order[j] = i;
  }
  for (int k = 0; k < N; ++k) loop.data[k] = views[k]->data;
  for (int i = 0; i < used; ++i) {
    const int axis = order[i];
    bool merge = loop.ndim > 0;
    for (int k = 0; k < N && merge; ++k)
      merge = loop.strides[k][loop.ndim - 1] == views[k]->strides[axis] * first.shape[axis];
    if (!merge) loop.shape[loop.ndim++] = 1;
    loop.shape[loop.ndim - 1] *= first.shape[axis];
    for (int k = 0; k < N; ++k) loop.strides[k][loop.ndim - 1] = views[k]->strides[axis];
  }
  if (loop.ndim == 0) {  // one element
    loop.ndim = 1;
    loop.shape[0] = 1;
    for (int k = 0; k < N; ++k) loop.strides[k][0] = itemsize(views[k]->dtype);
  }
  return loop;
}

// Calls row(pointers, strides, n) for the elements [begin, end) in loop order; strides are those
// of the innermost axis. Rows are cut where the range begins and ends.
template <int N, class Row>
void for_rows(const Loop<N>& loop, int64_t begin, int64_t end, Row&& row) {
  if (begin >= end) return;
  const int last = loop.ndim - 1;
  const int64_t length = loop.shape[last];
  int64_t index[kMaxDims], strides[N], rest = begin / length, at = begin % length;
  char* p[N];
  for (int k = 0; k < N; ++k) {
    p[k] = loop.data[k];
    strides[k] = loop.strides[k][last];
  }
  for (int i = last - 1; i >= 0; --i) {
    index[i] = rest % loop.shape[i];
    rest /= loop.shape[i];
    for (int k = 0; k < N; ++k) p[k] += index[i] * loop.strides[k][i];
  }
  for (int64_t done = begin;;) {
    const int64_t n = std::min(length - at, end - done);
    char* q[N];
    for (int k = 0; k < N; ++k) q[k] = p[k] + at * strides[k];
    row(q, strides, n);
    done += n;
    if (done >= end) return;
    at = 0;
    for (int i = last - 1; i >= 0; --i) {
      for (int k = 0; k < N; ++k) p[k] += loop.strides[k][i];
      if (++index[i] < loop.shape[i]) break;
      for (int k = 0; k < N; ++k) p[k] -= index[i] * loop.strides[k][i];
      index[i] = 0;
    }
  }
}

// All elements, split over the threads in ranges of at least grain elements.
template <int N, class Row>
void parallel_rows(const Loop<N>& loop, int64_t grain, Row&& row) {
  parallel_for(loop.size, grain,
               [&](int64_t begin, int64_t end) { for_rows(loop, begin, end, row); });
}

// The axis along which operand k is contiguous where its rows are not; -1 where there is none.
template <int N>
int crossing_axis(const Loop<N>& loop, int k, int64_t width) {
  const int last = loop.ndim - 1;
  const int64_t along = loop.strides[k][last];
  if (along == width || along == 0) return -1;
  for (int i = last - 1; i >= 0; --i)
    if (loop.strides[k][i] == width && loop.shape[i] > 1) return i;
  return -1;
}

// Calls tile(pointers, across, down, n, rows) for blocks of at most `most` elements that cover the
// innermost axis and the axis `cross`, both a little at a time.
template <int N, class Tile>
void parallel_tiles(const Loop<N>& loop, int cross, int64_t most, int64_t grain, Tile&& tile) {
  constexpr int64_t kEdge = 64;
  const int last = loop.ndim - 1;
  const int64_t n = loop.shape[last], rows = loop.shape[cross];
  const int64_t edge = std::min(kEdge, most / kEdge);
  const int64_t right = std::min(n, std::max(edge, most / std::min(rows, edge)));
  const int64_t below = std::min(rows, std::max(edge, most / right));
  const int64_t columns = (n - 1) / right + 1, bands = (rows - 1) / below + 1;
  int64_t across[N], down[N];
  for (int k = 0; k < N; ++k) {
    across[k] = loop.strides[k][last];
    down[k] = loop.strides[k][cross];
  }
  const int64_t tiles = loop.size / (n * rows) * columns * bands;
  parallel_for(tiles, std::max<int64_t>(grain / (right * below), 1), [&](int64_t at, int64_t end) {
    for (; at < end; ++at) {
      const int64_t i = at % columns * right, j = at / columns % bands * below;
      int64_t rest = at / columns / bands;
      char* p[N];
      for (int k = 0; k < N; ++k) p[k] = loop.data[k] + i * across[k] + j * down[k];
      for (int a = last - 1; a >= 0; --a) {
        if (a == cross) continue;
        for (int k = 0; k < N; ++k) p[k] += rest % loop.shape[a] * loop.strides[k][a];
        rest /= loop.shape[a];
      }
      tile(p, across, down, std::min(right, n - i), std::min(below, rows - j));
    }
  });
}

}  // namespace tg

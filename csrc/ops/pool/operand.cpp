#include <algorithm>

#include "ops/copy/prepare.h"
#include "ops/pool/pool.h"

namespace tg {
namespace {

// Largest stride first: N, C, spatial or N, spatial, C.
void lane_order(int ndim, Lanes lanes, int* order) {
  for (int i = 0; i < ndim; ++i) order[i] = i;
  if (lanes == Lanes::channels) std::rotate(order + 1, order + 2, order + ndim);
}

bool is_packed(const View& x, Lanes lanes, Pack pack) {
  int order[kMaxDims];
  lane_order(x.ndim, lanes, order);
  int64_t expected = itemsize(x.dtype);
  for (int i = x.ndim - 1; i >= 0; --i) {
    const int axis = order[i];
    if (x.shape[axis] != 1 && x.strides[axis] != expected) return false;
    if (pack == Pack::lanes) return true;
    expected *= x.shape[axis];
  }
  return true;
}

}  // namespace

Lanes lanes_of(const View& x) {
  int order[kMaxDims], innermost = x.ndim - 1;
  memory_order(x, order);
  for (int i = 0; i < x.ndim; ++i)
    if (x.shape[order[i]] != 1) innermost = order[i];
  return innermost == 1 ? Lanes::channels : Lanes::width;
}

View five_axes(const View& x) {
  View v = x;
  const int missing = 5 - x.ndim;
  v.ndim = 5;
  for (int i = 4; i >= 2; --i) {
    const bool own = i - missing >= 2;
    v.shape[i] = own ? x.shape[i - missing] : 1;
    v.strides[i] = own ? x.strides[i - missing] : itemsize(x.dtype);
  }
  return v;
}

View pool_operand(const char* op, const View& x, DType t, Lanes lanes, Pack pack,
                  py::object* keep) {
  if (x.dtype == t && is_packed(x, lanes, pack)) return five_axes(x);
  int order[kMaxDims];
  lane_order(x.ndim, lanes, order);
  const Output copy = empty_ordered(op, t, x.ndim, x.shape, order);
  convert_elements(copy.view, x);
  *keep = copy.array;
  return five_axes(copy.view);
}

TapLists::TapLists(const int64_t* bytes, const int64_t* places) {
  std::copy_n(bytes, 3, bytes_);
  std::copy_n(places, 3, places_);
}

const TapList& TapLists::of(int64_t d, int64_t h, int64_t w) {
  const int64_t size[3] = {d, h, w};
  for (int i = 0; i < std::min(count_, kLists); ++i)
    if (std::equal(size, size + 3, lists_[i].size)) return lists_[i];
  TapList& list = lists_[count_++ % kLists];
  std::copy_n(size, 3, list.size);
  list.count = 0;
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < h; ++j)
      for (int64_t k = 0; k < w; ++k, ++list.count) {
        list.bytes[list.count] = i * bytes_[0] + j * bytes_[1] + k * bytes_[2];
        list.places[list.count] = i * places_[0] + j * places_[1] + k * places_[2];
      }
  return list;
}

PoolResult::PoolResult(const char* op, DType dtype, const View& like, Lanes lanes,
                       const int64_t* spatial, Pack pack) {
  int64_t shape[kMaxDims];
  int order[kMaxDims];
  std::copy_n(like.shape, 2, shape);
  std::copy_n(spatial, like.ndim - 2, shape + 2);
  memory_order(like, order);
  out = work = empty_ordered(op, dtype, like.ndim, shape, order);
  if (dtype == compute_dtype(dtype) && is_packed(out.view, lanes, pack)) return;
  lane_order(like.ndim, lanes, order);
  work = empty_ordered(op, compute_dtype(dtype), like.ndim, shape, order);
}

py::object PoolResult::finish() const {
  if (!work.array.is(out.array)) convert_elements(out.view, work.view);
  return out.array;
}

}  // namespace tg

// What the indexing entries share: checked indices, and views with one axis taken out.
#pragma once
#include "core/array.h"

namespace tg {

constexpr int64_t kIndexGrain = 16384;  // elements a thread should at least move

// A private row-major int64 copy of index with every value in [0, size), so that the memory cannot
// change between the check and the use. Raises when a value is outside [-size, size).
Output checked_indices(const char* op, py::handle index, int64_t size);

int checked_axis(const char* op, int64_t axis, int ndim);

// Raises for bool, which has no addition.
void check_number(const char* op, const View& x, const char* name);

inline View without_axis(const View& v, int axis) {
  View w = v;
  --w.ndim;
  for (int i = axis; i < w.ndim; ++i) {
    w.shape[i] = v.shape[i + 1];
    w.strides[i] = v.strides[i + 1];
  }
  return w;
}

// Integers wrap; floats add.
template <class T>
inline T wrapping_add(T a, T b) {
  if constexpr (std::is_integral<T>::value)
    return T(uint64_t(a) + uint64_t(b));
  else
    return a + b;
}

py::object gather(py::handle x, py::handle index, int64_t axis);
py::object scatter_add(const py::tuple& shape, py::handle index, py::handle src, int64_t axis);
py::object take(py::handle x, py::handle index, int64_t axis);
py::object take_grad(py::handle g, py::handle index, int64_t axis, int64_t size);
void put(py::handle x, py::handle index, py::handle src, bool accumulate);
py::object nonzero(py::handle x);
py::object concatenate(const py::sequence& arrays, int64_t axis);
py::object roll(py::handle x, const py::tuple& shifts, const py::tuple& axes);
py::object pad(py::handle x, const py::tuple& widths, const char* mode, py::handle value);
py::object pad_grad(py::handle g, const py::tuple& widths, const char* mode);

}  // namespace tg

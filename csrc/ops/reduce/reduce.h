// What the reductions share: names, axes and the checks on them.
#pragma once
#include "core/array.h"

namespace tg {

extern const char* const kReduceNames[6];  // REDUCE of the contract

template <size_t N>
py::list names_of(const char* const (&names)[N]) {
  py::list out;
  for (const char* name : names) out.append(name);
  return out;
}

// Marks the axes of a tuple; raises unless they are distinct and lie in [0, ndim).
void read_axes(py::handle axes, int ndim, const char* op, bool* reduced);
int read_axis(py::handle axis, int ndim, const char* op);

// Raises a ValueError where axis has length 0.
void check_not_empty(const char* op, const View& x, int axis);

// Mean and biased variance over the reduced axes in the type arithmetic is done in (float for
// halves), contiguous in the memory order of x's kept axes.
struct Moments {
  Output mean, var;
};
Moments moments_of(const char* op, const View& x, const bool* reduced, bool keepdims);

}  // namespace tg

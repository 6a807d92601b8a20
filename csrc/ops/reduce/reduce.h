// What the reductions share: names, axes and the checks on them.
#pragma once
#include "core/array.h"

namespace tg {

extern const char* const kReduceNames[6];  // REDUCE of the contract

// Marks the axes of a tuple; raises unless they are distinct and lie in [0, ndim).
void read_axes(py::handle axes, int ndim, const char* op, bool* reduced);
int read_axis(py::handle axis, int ndim, const char* op);

// Raises a ValueError where axis has length 0.
void check_not_empty(const char* op, const View& x, int axis);

}  // namespace tg

// Moving elements, for the entries of other families.
#pragma once
#include "core/array.h"

namespace tg {

// dst[...] = src; one shape and dtype, memory that does not overlap.
void copy_elements(const View& dst, const View& src);

// x itself when it is row major, else a row-major copy, which keep then owns.
View row_major(const char* op, const View& x, py::object* keep);

}  // namespace tg

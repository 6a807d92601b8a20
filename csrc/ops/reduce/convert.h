// Operands in the dtype and memory order a kernel wants.
#pragma once
#include "core/array.h"

namespace tg {

DType compute_dtype(DType t);  // float32 for the half types, else t

// dst[...] = src; one shape, equal dtypes or a half type and float32, memory apart.
void convert_into(const View& dst, const View& src);

// A fresh array of x's values and shape in dtype t; order as for empty_ordered, nullptr for x's
// own.
Output converted(const char* op, const View& x, DType t, const int* order);

// x itself where it is row major in dtype t, else a copy that is.
View row_major_as(const char* op, const View& x, DType t, py::object* keep);

// x, contiguous and fresh, or the same values in dtype t.
py::object narrowed(const char* op, const Output& x, DType t);

}  // namespace tg

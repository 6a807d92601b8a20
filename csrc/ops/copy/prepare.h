// Operands of the entries that work on contiguous float or double rows, whatever came in.
#pragma once
#include <pybind11/pybind11.h>

#include <vector>

#include "core/array.h"
#include "core/dispatch.h"

namespace tg {

// Arrays made on the way, kept alive until the entry returns.
using Keep = std::vector<py::object>;

// h as a row-major array of the compute dtype (float for the half types); h itself where it is one.
View prepared(const char* op, const char* name, py::handle h, DType dtype, Keep& keep);
// As prepared, or a view without data for None; checks that there are count elements.
View per_element(const char* op, const char* name, py::handle h, DType dtype, int64_t count,
                 Keep& keep);
// An output of the compute dtype as an array of the dtype asked for.
py::object finished(const char* op, const Output& y, DType dtype);

// dst[...] = src, the values converted; one shape, memory that does not overlap.
void convert_elements(const View& dst, const View& src);

inline DType compute_dtype(DType t) { return is_half(t) ? DType::f32 : t; }

// t is float32 or float64: a compute dtype.
template <class F>
void dispatch_compute(DType t, F&& f) {
  t == DType::f64 ? f(type_tag<double>{}) : f(type_tag<float>{});
}

}  // namespace tg

// What the normalisations share: operands as contiguous float or double arrays of known layout.
#pragma once
#include <pybind11/pybind11.h>

#include <vector>

#include "core/array.h"
#include "core/dispatch.h"
#include "core/parallel.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/norm_kernels.h"

namespace tg {

template <class T>
const NormRows<T>& norm_rows();
template <>
inline const NormRows<float>& norm_rows<float>() {
  return kernels().norm->f32;
}
template <>
inline const NormRows<double>& norm_rows<double>() {
  return kernels().norm->f64;
}

// Arrays made on the way, kept alive until the entry returns.
using Keep = std::vector<py::object>;

// h as a row-major array of the compute dtype (float for the half types); h itself where it is one.
View prepared(const char* op, const char* name, py::handle h, DType dtype, Keep& keep);
// As prepared, or a view without data for None; checks that there are count elements.
View per_element(const char* op, const char* name, py::handle h, DType dtype, int64_t count,
                 Keep& keep);
// An output of the compute dtype as an array of the dtype asked for.
py::object finished(const char* op, const Output& y, DType dtype);

inline DType compute_dtype(DType t) { return is_half(t) ? DType::f32 : t; }

// t is float32 or float64: a compute dtype.
template <class F>
void dispatch_compute(DType t, F&& f) {
  t == DType::f64 ? f(type_tag<double>{}) : f(type_tag<float>{});
}

constexpr int64_t kNormGrain = 16384;  // elements a thread should at least take
constexpr int64_t kNormRows = 64;      // rows whose sums are formed in T before going on in double

inline int64_t norm_grain(int64_t row) { return row >= kNormGrain ? 1 : kNormGrain / (row + 1); }

void bind_layer_norm(py::module_& m);

}  // namespace tg

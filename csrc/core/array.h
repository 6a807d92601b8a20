// The bridge to NumPy: arrays in as views, arrays out on memory of the pool.
#pragma once
#include <pybind11/pybind11.h>

#include <initializer_list>

#include "core/check.h"
#include "core/view.h"

namespace tg {

namespace py = pybind11;

void init_arrays();  // loads the NumPy C API; called once by the module

// Raises unless h is an aligned, native-endian numpy.ndarray of a supported dtype.
View view_of(py::handle h, const char* op, const char* name);
// As view_of, and the array must be writable.
View writable_view_of(py::handle h, const char* op, const char* name);

DType dtype_of(py::handle numpy_dtype, const char* op);

// A fresh array and its view. Sizes are checked for overflow and against the machine's memory.
struct Output {
  py::object array;
  View view;
};
// Row major.
Output empty(const char* op, DType dtype, int ndim, const int64_t* shape);
// Axis order[0] gets the largest stride, order[ndim - 1] the smallest.
Output empty_ordered(const char* op, DType dtype, int ndim, const int64_t* shape, const int* order);
// Same shape and memory order as like.
Output empty_like(const char* op, DType dtype, const View& like);
// The broadcast shape of the inputs, in the memory order of the inputs ("memory order out as it
// came in"). Raises a shape error naming the arguments when they do not broadcast.
Output empty_broadcast(const char* op, DType dtype, std::initializer_list<const View*> inputs,
                       std::initializer_list<const char*> names);

// With the shape and strides of like, which lie in bytes of memory.
Output empty_as(const char* op, const View& like, int64_t bytes);
// An array of the geometry and address of v on memory that owner keeps.
py::object array_on(const View& v, py::handle owner);
// The array whose memory this one views.
py::handle owner_of(py::handle array);
// The address of an array whose geometry and dtype are those of v, else nullptr.
char* bytes_if_alike(py::handle array, const View& v, bool writable);
// Makes NumPy's own arrays of this thread come from the pool; returns what restores it.
py::object handle_numpy();
void restore_numpy(const py::object& handler);

// Axes of v from largest to smallest stride; ties keep their order.
void memory_order(const View& v, int* order);

// The view seen through a broadcast to ndim, shape (which must be compatible): stride 0 where
// stretched.
View broadcast_to(const View& v, int ndim, const int64_t* shape);

// The addresses between which a view that is not empty lies.
void memory_range(const View& v, const char** low, const char** high);
// True when two views may share a byte (a conservative test on address ranges).
bool may_overlap(const View& a, const View& b);

}  // namespace tg

// Python integers and tuples as plain parameters, with our errors instead of a failed cast.
#pragma once
#include <pybind11/pybind11.h>

#include "core/check.h"

namespace tg {

// Accepts what Python accepts as an index (int, NumPy integers), not float.
inline int64_t integer_of(pybind11::handle h, const char* op, const char* name) {
  const pybind11::object number =
      pybind11::reinterpret_steal<pybind11::object>(PyNumber_Index(h.ptr()));
  if (!number) {
    PyErr_Clear();
    fail(ErrorKind::dtype, op, ": ", name, " must be an integer, got ",
         std::string(pybind11::repr(h)));
  }
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0)
    fail(ErrorKind::value, op, ": ", name, " must fit 64 bits, got ",
         std::string(pybind11::str(number)));
  return value;
}

// Fills out with the integers of a tuple or list of at most capacity entries; returns how many.
inline int integers_of(pybind11::handle h, int64_t* out, int capacity, const char* op,
                       const char* name) {
  check(PyTuple_Check(h.ptr()) || PyList_Check(h.ptr()), ErrorKind::dtype, op, ": ", name,
        " must be a tuple of integers");
  const auto items = pybind11::reinterpret_borrow<pybind11::sequence>(h);
  const size_t n = items.size();
  check(n <= size_t(capacity), ErrorKind::shape, op, ": ", name, " has ", n, " entries, at most ",
        capacity, " are supported");
  for (size_t i = 0; i < n; ++i) {
    const pybind11::object item = items[i];
    out[i] = integer_of(item, op, name);
  }
  return int(n);
}

}  // namespace tg

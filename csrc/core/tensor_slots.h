// The slots of a Tensor: a replay makes tensors and sets gradients without calling Python.
#pragma once
#include "core/array.h"

namespace tg {

// Tells which class Tensor is.
void tensor_type(py::handle type);

extern Py_ssize_t g_array, g_node, g_grad, g_share, g_version;

inline PyObject*& slot(PyObject* tensor, Py_ssize_t offset) {
  return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(tensor) + offset);
}

bool is_tensor(PyObject* x);
py::object new_tensor(py::handle array);
// An array that begins offset bytes after the one given, on its memory.
py::object view_at(py::handle array, py::handle dtype, const py::tuple& shape,
                   const py::tuple& strides, int64_t offset, bool writable);
void replace(PyObject*& place, py::handle value);

// What a weak reference refers to, or nullptr; the reference is borrowed from whoever keeps it.
inline PyObject* referent(const py::weakref& r) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* found;
  if (PyWeakref_GetRef(r.ptr(), &found) <= 0) return nullptr;
  Py_DECREF(found);
  return found;
#else
  PyObject* found = PyWeakref_GetObject(r.ptr());
  return found == Py_None ? nullptr : found;
#endif
}

// A leaf: an argument, or a tensor from outside. nullptr where it is no tensor, or gone.
struct Leaf {
  int argument;
  py::weakref tensor;
  PyObject* of(const py::tuple& arguments) const {
    if (argument < 0) return referent(tensor);
    PyObject* x = PyTuple_GET_ITEM(arguments.ptr(), argument);
    return is_tensor(x) ? x : nullptr;
  }
};

}  // namespace tg

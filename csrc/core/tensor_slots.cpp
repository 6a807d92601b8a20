#include "core/tensor_slots.h"

#include <structmember.h>

#include "core/args.h"
#include "core/check.h"

namespace tg {

Py_ssize_t g_array, g_node, g_grad, g_share, g_version;

namespace {

PyTypeObject* g_tensor;

Py_ssize_t offset_of(py::handle type, const char* name) {
  const py::object member = type.attr(name);
  check(Py_TYPE(member.ptr()) == &PyMemberDescr_Type, ErrorKind::value, "tensor_type: ", name,
        " is no slot");
  return reinterpret_cast<PyMemberDescrObject*>(member.ptr())->d_member->offset;
}

}  // namespace

void tensor_type(py::handle type) {
  g_array = offset_of(type, "_array");
  g_node = offset_of(type, "_node");
  g_grad = offset_of(type, "_grad");
  g_share = offset_of(type, "_share");
  g_version = offset_of(type, "_version");
  g_tensor = reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr());
}

bool is_tensor(PyObject* x) { return PyObject_TypeCheck(x, g_tensor); }

py::object new_tensor(py::handle array) {
  PyObject* t = g_tensor->tp_alloc(g_tensor, 0);
  if (t == nullptr) throw py::error_already_set();
  for (const Py_ssize_t at : {g_node, g_grad, g_share, g_version}) {
    Py_INCREF(Py_None);
    slot(t, at) = Py_None;
  }
  slot(t, g_array) = array.inc_ref().ptr();
  return py::reinterpret_steal<py::object>(t);
}

void replace(PyObject*& place, py::handle value) {
  PyObject* before = place;
  place = value.inc_ref().ptr();
  Py_XDECREF(before);
}

py::object view_at(py::handle array, py::handle dtype, const py::tuple& shape,
                   const py::tuple& strides, int64_t offset, bool writable) {
  View v = view_of(array, "capture", "array");
  v.data += offset;
  v.dtype = dtype_of(dtype, "capture");
  v.ndim = integers_of(shape, v.shape, kMaxDims, "capture", "shape");
  integers_of(strides, v.strides, kMaxDims, "capture", "strides");
  py::object y = array_on(v, array);
  if (!writable) y.attr("setflags")(false);
  return y;
}

}  // namespace tg

#include "core/array.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <algorithm>
#include <cstdlib>

#include "core/plan.h"
#include "core/pool.h"

namespace tg {
namespace {

int g_bfloat16_num = -1;
PyArray_Descr* g_descr[kNumDTypes];
PyObject* g_handler = nullptr;

// NumPy frees array memory through the handler stored in the array (NEP 49).
void* handler_malloc(void*, size_t n) {
  void* p = pool_allocate(n);
  record_allocation(p, n, false);
  return p;
}
void* handler_calloc(void*, size_t n, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(n, size, &bytes)) return nullptr;
  void* p = pool_allocate(bytes);
  if (p != nullptr) std::memset(p, 0, bytes);
  record_allocation(p, bytes, false);
  return p;
}
void* handler_realloc(void*, void* p, size_t n) {
  record_free(p);
  void* fresh = pool_reallocate(p, n);
  record_allocation(fresh, n, false);
  return fresh;
}
void handler_free(void*, void* p, size_t) {
  record_free(p);
  pool_free(p);
}

PyDataMem_Handler g_handler_struct = {
    "tilegrad_pool", 1, {nullptr, handler_malloc, handler_calloc, handler_realloc, handler_free}};

bool dtype_of_num(int num, DType* out) {
  switch (num) {
    case NPY_BOOL: *out = DType::b1; return true;
    case NPY_UINT8: *out = DType::u8; return true;
    case NPY_INT8: *out = DType::i8; return true;
    case NPY_UINT16: *out = DType::u16; return true;
    case NPY_INT16: *out = DType::i16; return true;
    case NPY_UINT32: *out = DType::u32; return true;
    case NPY_INT32: *out = DType::i32; return true;
    case NPY_ULONG:
    case NPY_ULONGLONG: *out = DType::u64; return true;
    case NPY_LONG:
    case NPY_LONGLONG: *out = DType::i64; return true;
    case NPY_HALF: *out = DType::f16; return true;
    case NPY_FLOAT: *out = DType::f32; return true;
    case NPY_DOUBLE: *out = DType::f64; return true;
    default: break;
  }
  if (num == g_bfloat16_num) {
    *out = DType::bf16;
    return true;
  }
  return false;
}

Output from_strides(const char* op, DType dtype, int ndim, const int64_t* shape,
                    const int64_t* strides, int64_t bytes) {
  void* data = pool_allocate(size_t(bytes));
  if (data == nullptr)
    fail(ErrorKind::memory, op, ": output of shape ", Shape{shape, ndim}, " and dtype ",
         dtype_name(dtype), " needs ", bytes, " bytes; ", memory_limit() - pool_stats().in_use,
         " are left");
  record_allocation(data, size_t(bytes), true);
  PyArray_Descr* descr = g_descr[int(dtype)];
  Py_INCREF(descr);
  npy_intp dims[kMaxDims], steps[kMaxDims];
  for (int i = 0; i < ndim; ++i) {
    dims[i] = shape[i];
    steps[i] = strides[i];
  }
  PyObject* a = PyArray_NewFromDescr(&PyArray_Type, descr, ndim, dims, steps, data,
                                     NPY_ARRAY_WRITEABLE, nullptr);
  if (a == nullptr) {
    pool_free(data);
    throw py::error_already_set();
  }
  Py_INCREF(g_handler);
  reinterpret_cast<PyArrayObject_fields*>(a)->mem_handler = g_handler;
  PyArray_ENABLEFLAGS(reinterpret_cast<PyArrayObject*>(a), NPY_ARRAY_OWNDATA);
  Output out;
  out.array = py::reinterpret_steal<py::object>(a);
  out.view.data = static_cast<char*>(data);
  out.view.dtype = dtype;
  out.view.ndim = ndim;
  for (int i = 0; i < ndim; ++i) {
    out.view.shape[i] = shape[i];
    out.view.strides[i] = strides[i];
  }
  return out;
}

}  // namespace

void init_arrays() {
  if (_import_array() < 0) throw py::error_already_set();
  py::object bfloat16 =
      py::module_::import("numpy").attr("dtype")(py::module_::import("ml_dtypes").attr("bfloat16"));
  g_descr[int(DType::bf16)] = reinterpret_cast<PyArray_Descr*>(bfloat16.release().ptr());
  g_bfloat16_num = g_descr[int(DType::bf16)]->type_num;
  const int nums[kNumDTypes] = {NPY_BOOL,   NPY_UINT8, NPY_INT8,   NPY_UINT16, NPY_INT16,
                                NPY_UINT32, NPY_INT32, NPY_UINT64, NPY_INT64,  NPY_HALF,
                                -1,         NPY_FLOAT, NPY_DOUBLE};
  for (int i = 0; i < kNumDTypes; ++i)
    if (nums[i] >= 0) g_descr[i] = PyArray_DescrFromType(nums[i]);
  g_handler = PyCapsule_New(&g_handler_struct, "mem_handler", nullptr);
  if (g_handler == nullptr) throw py::error_already_set();
}

View view_of(py::handle h, const char* op, const char* name) {
  if (!PyArray_Check(h.ptr()))
    fail(ErrorKind::dtype, op, ": ", name, " must be a numpy.ndarray, got ",
         Py_TYPE(h.ptr())->tp_name);
  PyArrayObject* a = reinterpret_cast<PyArrayObject*>(h.ptr());
  View v;
  if (!dtype_of_num(PyArray_TYPE(a), &v.dtype))
    fail(ErrorKind::dtype, op, ": ", name, " has unsupported dtype ",
         std::string(py::str(py::handle(reinterpret_cast<PyObject*>(PyArray_DESCR(a))))));
  check(PyArray_ISALIGNED(a) && PyArray_ISNOTSWAPPED(a), ErrorKind::value, op, ": ", name,
        " must be aligned and of native byte order");
  v.ndim = PyArray_NDIM(a);
  check(v.ndim <= kMaxDims, ErrorKind::shape, op, ": ", name, " has ", v.ndim,
        " dimensions, at most ", kMaxDims, " are supported");
  v.data = PyArray_BYTES(a);
  for (int i = 0; i < v.ndim; ++i) {
    v.shape[i] = PyArray_DIMS(a)[i];
    v.strides[i] = PyArray_STRIDES(a)[i];
  }
  if (recording != nullptr) record_array(h, v.data);
  return v;
}

View writable_view_of(py::handle h, const char* op, const char* name) {
  const View v = view_of(h, op, name);
  check(PyArray_ISWRITEABLE(reinterpret_cast<PyArrayObject*>(h.ptr())), ErrorKind::value, op, ": ",
        name, " is read-only");
  record_write(v.data);
  return v;
}

DType dtype_of(py::handle numpy_dtype, const char* op) {
  DType t;
  if (!PyArray_DescrCheck(numpy_dtype.ptr()) ||
      !dtype_of_num(reinterpret_cast<PyArray_Descr*>(numpy_dtype.ptr())->type_num, &t))
    fail(ErrorKind::dtype, op, ": unsupported dtype ", std::string(py::str(numpy_dtype)));
  return t;
}

Output empty_ordered(const char* op, DType dtype, int ndim, const int64_t* shape,
                     const int* order) {
  const int64_t bytes = checked_bytes(op, shape, ndim, itemsize(dtype));
  int64_t strides[kMaxDims], step = itemsize(dtype);
  for (int i = ndim - 1; i >= 0; --i) {
    strides[order[i]] = step;
    step *= shape[order[i]] > 0 ? shape[order[i]] : 1;
  }
  return from_strides(op, dtype, ndim, shape, strides, bytes);
}

Output empty(const char* op, DType dtype, int ndim, const int64_t* shape) {
  check(ndim <= kMaxDims, ErrorKind::shape, op, ": output would have ", ndim,
        " dimensions, at most ", kMaxDims, " are supported");
  int order[kMaxDims];
  for (int i = 0; i < ndim; ++i) order[i] = i;
  return empty_ordered(op, dtype, ndim, shape, order);
}

void memory_order(const View& v, int* order) {
  int sorted[kMaxDims], used = 0;
  for (int i = 0; i < v.ndim; ++i) {  // insertion sort: stable, and ndim is small
    if (v.shape[i] == 1) continue;
    int j = used++;
    for (; j > 0 && std::llabs(v.strides[sorted[j - 1]]) < std::llabs(v.strides[i]); --j)
      sorted[j] = sorted[j - 1];
    sorted[j] = i;
  }
  // Axes of length 1 have no say and stay where they are.
  for (int i = 0, next = 0; i < v.ndim; ++i) order[i] = v.shape[i] == 1 ? i : sorted[next++];
}

Output empty_like(const char* op, DType dtype, const View& like) {
  if (like.row_major()) return empty(op, dtype, like.ndim, like.shape);
  int order[kMaxDims];
  memory_order(like, order);
  return empty_ordered(op, dtype, like.ndim, like.shape, order);
}

Output empty_as(const char* op, const View& like, int64_t bytes) {
  return from_strides(op, like.dtype, like.ndim, like.shape, like.strides, bytes);
}

py::object array_on(const View& v, py::handle owner) {
  npy_intp dims[kMaxDims], steps[kMaxDims];
  std::copy(v.shape, v.shape + v.ndim, dims);
  std::copy(v.strides, v.strides + v.ndim, steps);
  PyArray_Descr* descr = g_descr[int(v.dtype)];
  Py_INCREF(descr);
  PyObject* a = PyArray_NewFromDescr(&PyArray_Type, descr, v.ndim, dims, steps, v.data,
                                     NPY_ARRAY_WRITEABLE, nullptr);
  if (a == nullptr) throw py::error_already_set();
  py::object array = py::reinterpret_steal<py::object>(a);
  if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(a), owner.inc_ref().ptr()) < 0)
    throw py::error_already_set();
  return array;
}

py::handle owner_of(py::handle h) {
  while (PyObject* base = PyArray_BASE(reinterpret_cast<PyArrayObject*>(h.ptr()))) {
    if (!PyArray_Check(base)) break;
    h = base;
  }
  return h;
}

char* bytes_if_alike(py::handle array, const View& v, bool writable) {
  if (!PyArray_Check(array.ptr())) return nullptr;
  PyArrayObject* a = reinterpret_cast<PyArrayObject*>(array.ptr());
  DType t;
  if (PyArray_NDIM(a) != v.ndim || !dtype_of_num(PyArray_TYPE(a), &t) || t != v.dtype ||
      !PyArray_ISALIGNED(a) || !PyArray_ISNOTSWAPPED(a) || (writable && !PyArray_ISWRITEABLE(a)))
    return nullptr;
  for (int i = 0; i < v.ndim; ++i)
    if (PyArray_DIM(a, i) != v.shape[i] || PyArray_STRIDE(a, i) != v.strides[i]) return nullptr;
  return PyArray_BYTES(a);
}

py::object handle_numpy() {
  PyObject* before = PyDataMem_SetHandler(g_handler);
  if (before == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(before);
}

void restore_numpy(const py::object& handler) {
  PyObject* mine = PyDataMem_SetHandler(handler.ptr());
  Py_XDECREF(mine);
}

View broadcast_to(const View& v, int ndim, const int64_t* shape) {
  View b = v;
  b.ndim = ndim;
  const int lead = ndim - v.ndim;
  for (int i = ndim - 1; i >= 0; --i) {
    const bool own = i >= lead && v.shape[i - lead] == shape[i];
    b.strides[i] = own ? v.strides[i - lead] : 0;
    b.shape[i] = shape[i];
  }
  return b;
}

// Where one operand only lacks the last axis of another: (n,) beside (n, m).
static void suggest_axis(std::ostream& s, std::initializer_list<const View*> inputs,
                         std::initializer_list<const char*> names) {
  auto name = names.begin();
  for (const View* v : inputs) {
    for (const View* w : inputs) {
      bool fits = v->ndim > 0 && v->ndim + 1 == w->ndim;
      for (int i = 0; i < v->ndim && fits; ++i) fits = v->shape[i] == w->shape[i];
      if (!fits) continue;
      s << "; " << *name << ".unsqueeze(-1) would fit";
      return;
    }
    ++name;
  }
}

Output empty_broadcast(const char* op, DType dtype, std::initializer_list<const View*> inputs,
                       std::initializer_list<const char*> names) {
  int ndim = 0;
  for (const View* v : inputs) ndim = v->ndim > ndim ? v->ndim : ndim;
  int64_t shape[kMaxDims];
  for (int i = 0; i < ndim; ++i) shape[i] = 1;
  for (const View* v : inputs)
    for (int i = 0; i < v->ndim; ++i) {
      int64_t& out = shape[ndim - v->ndim + i];
      if (v->shape[i] == out || v->shape[i] == 1) continue;
      if (out == 1) {
        out = v->shape[i];
        continue;
      }
      std::ostringstream s;
      s << op << ": shapes do not broadcast:";
      auto name = names.begin();
      for (const View* w : inputs)
        s << (w == *inputs.begin() ? " " : ", ") << *name++ << ' ' << shape_of(*w);
      s << " differ at axis " << ndim - v->ndim + i - ndim << " (" << out << " and " << v->shape[i]
        << ')';
      suggest_axis(s, inputs, names);
      throw Error(ErrorKind::shape, s.str());
    }
  // The first input that has every axis at full length decides the memory order.
  for (const View* v : inputs) {
    if (v->ndim != ndim) continue;
    bool full = true;
    for (int i = 0; i < ndim; ++i) full = full && v->shape[i] == shape[i];
    if (full) return empty_like(op, dtype, *v);
  }
  return empty(op, dtype, ndim, shape);
}

void memory_range(const View& v, const char** low, const char** high) {
  *low = *high = v.data;
  for (int i = 0; i < v.ndim; ++i) {
    const int64_t reach = (v.shape[i] - 1) * v.strides[i];
    (reach < 0 ? *low : *high) += reach;
  }
  *high += itemsize(v.dtype);
}

bool may_overlap(const View& a, const View& b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const char *a_low, *a_high, *b_low, *b_high;
  memory_range(a, &a_low, &a_high);
  memory_range(b, &b_low, &b_high);
  return a_low < b_high && b_low < a_high;
}

}  // namespace tg

// tilegrad._cpu: the table of contents. Every family binds the contract entries it implements.
#include <pybind11/pybind11.h>

#include "core/array.h"
#include "core/check.h"
#include "core/parallel.h"
#include "core/plan.h"
#include "core/pool.h"
#include "cpu/isa/kernels.h"

namespace py = pybind11;

namespace tg {
void bind_attention(py::module_&);
void bind_conv(py::module_&);
void bind_copy(py::module_&);
void bind_elementwise(py::module_&);
void bind_index(py::module_&);
void bind_matmul(py::module_&);
void bind_norm(py::module_&);
void bind_optim(py::module_&);
void bind_pool(py::module_&);
void bind_random(py::module_&);
void bind_recurrent(py::module_&);
void bind_reduce(py::module_&);
void bind_softmax(py::module_&);
}  // namespace tg

namespace {

void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const tg::Error& e) {
    static const char* const classes[] = {"ShapeError",        "DTypeError",  "IndexError",
                                          "DeviceError",       "ValueError",  "MemoryError",
                                          "ZeroDivisionError", "CaptureError"};
    const py::object cls =
        py::module_::import("tilegrad.errors").attr(classes[static_cast<int>(e.kind)]);
    // Made here, while the caller's frames are there: Python 3.11 would make it when it is caught.
    PyErr_SetObject(cls.ptr(), cls(e.what()).ptr());
  }
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "The CPU kernels of tilegrad; see tilegrad.kernels.contract.";
  tg::init_arrays();
  py::register_exception_translator(translate);

  tg::bind_attention(m);
  tg::bind_conv(m);
  tg::bind_copy(m);
  tg::bind_elementwise(m);
  tg::bind_index(m);
  tg::bind_matmul(m);
  tg::bind_norm(m);
  tg::bind_optim(m);
  tg::bind_pool(m);
  tg::bind_random(m);
  tg::bind_recurrent(m);
  tg::bind_reduce(m);
  tg::bind_softmax(m);
  tg::bind_plan(m);

  m.def("num_threads", &tg::num_threads);
  m.def("set_num_threads", &tg::set_num_threads);
  m.def("isa", [] { return tg::kernels().name; });
  m.def("isas", [] {
    py::list names;
    for (const char* const* n = tg::available_isas(); *n != nullptr; ++n) names.append(*n);
    return names;
  });
  m.def("set_isa", [](const std::string& asked) {
    const char* name = asked.c_str();
    if (tg::set_isa(name)) return;
    const char* needs = tg::why_not_isa(name);
    if (needs == nullptr)
      tg::fail(tg::ErrorKind::value, "set_cpu_isa: unknown instruction set '", name, "'");
    tg::fail(tg::ErrorKind::value, "set_cpu_isa: this machine does not run '", name, "'; it needs ",
             needs);
  });
  m.def("empty_cache", &tg::pool_release);
  m.def("memory_stats", [] {
    const tg::PoolStats s = tg::pool_stats();
    py::dict d;
    d["in_use"] = s.in_use;
    d["cached"] = s.cached;
    d["peak"] = s.peak;
    d["cache_limit"] = s.limit;
    d["memory_limit"] = tg::memory_limit();
    return d;
  });
  m.def("reset_peak_memory", &tg::pool_reset_peak);
#ifdef __SANITIZE_ADDRESS__
  m.def("plant_overflow", [] {  // the sanitizer run proves that it can fail
    volatile char* block = static_cast<char*>(tg::pool_allocate(64));
    block[64] = 1;
  });
#endif
}

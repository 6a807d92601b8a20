#include "ops/index/index.h"

namespace tg {

void bind_index(py::module_& m) {
  using py::arg;
  m.def("gather", &gather, arg("x"), arg("index"), arg("axis"));
  m.def("scatter_add", &scatter_add, arg("shape"), arg("index"), arg("src"), arg("axis"));
  m.def("take", &take, arg("x"), arg("index"), arg("axis"));
  m.def("take_grad", &take_grad, arg("g"), arg("index"), arg("axis"), arg("size"));
  m.def("put", &put, arg("x"), arg("index"), arg("src"), arg("accumulate"));
  m.def("nonzero", &nonzero, arg("x"));
  m.def("concatenate", &concatenate, arg("arrays"), arg("axis"));
  m.def("pad", &pad, arg("x"), arg("widths"), arg("mode").none(false), arg("value"));
  m.def("pad_grad", &pad_grad, arg("g"), arg("widths"), arg("mode").none(false));
  m.def("roll", &roll, arg("x"), arg("shifts"), arg("axes"));
}

}  // namespace tg

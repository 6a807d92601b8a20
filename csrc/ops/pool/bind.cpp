#include "ops/pool/pool.h"

namespace tg {

void bind_pool(py::module_& m) {
  using py::arg;
  m.def("max_pool", &max_pool, arg("x"), arg("kernel"), arg("stride"), arg("padding"),
        arg("dilation"), arg("ceil_mode"));
  m.def("max_pool_grad", &max_pool_grad, arg("g"), arg("indices"), arg("in_spatial"));
  m.def("max_pool_gather", &max_pool_gather, arg("x"), arg("indices"));
  m.def("avg_pool", &avg_pool, arg("x"), arg("kernel"), arg("stride"), arg("padding"),
        arg("ceil_mode"), arg("count_include_pad"), arg("divisor"));
  m.def("avg_pool_grad", &avg_pool_grad, arg("g"), arg("in_spatial"), arg("kernel"), arg("stride"),
        arg("padding"), arg("ceil_mode"), arg("count_include_pad"), arg("divisor"));
  m.def("adaptive_avg_pool", &adaptive_avg_pool, arg("x"), arg("out_spatial"));
  m.def("adaptive_avg_pool_grad", &adaptive_avg_pool_grad, arg("g"), arg("in_spatial"));
  m.def("adaptive_max_pool", &adaptive_max_pool, arg("x"), arg("out_spatial"));
}

}  // namespace tg

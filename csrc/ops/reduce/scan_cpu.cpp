// arg_reduce and cumulative: along one axis, in order.
#include "core/args.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "ops/reduce/fold_plan.h"
#include "ops/reduce/reduce.h"

namespace tg {
namespace {

const char* const kArgNames[2] = {"argmax", "argmin"};
const char* const kScanNames[2] = {"cumsum", "cumprod"};

struct AxisParams {
  FoldPlan plan;
  int op;
};

// views: y, x
void arg_kernel(const AxisParams& params, const View* views) {
  const FoldPlan& plan = params.plan;
  const ArgTable& table = *kernels().row->arg;
  const ArgKernel arg = (plan.columns ? table.columns : table.rows)[params.op][int(views[1].dtype)];
  int64_t* y = views[0].ptr<int64_t>();
  for_fold(plan, [&](int64_t, int64_t at, const int64_t* offset, int64_t n, int64_t, int64_t) {
    arg(views[1].data + offset[0], plan.seq.stride[0][0], plan.length, plan.step[0], n, y + at);
  });
}

py::object arg_reduce(int op, py::handle x_array, py::handle axis_index, bool keepdims) {
  check(op >= 0 && op < 2, ErrorKind::value, "arg_reduce: op must be in [0, 2), got ", op);
  const char* name = kArgNames[op];
  const View x = view_of(x_array, name, "x");
  const int axis = read_axis(axis_index, x.ndim, name);
  check_not_empty(name, x, axis);
  bool reduced[kMaxDims] = {};
  reduced[axis] = true;
  Output y = empty_reduced(name, DType::i64, x, reduced, keepdims);
  const AxisParams params{make_scan_plan(&x, 1, axis, 8), op};
  if (y.view.size() > 0) run(arg_kernel, params, {y.view, x}, x.size(), Arithmetic::exact);
  return y.array;
}

// views: y, x
void scan_kernel(const AxisParams& params, const View* views) {
  const FoldPlan& plan = params.plan;
  const ScanTable& table = *kernels().row->scan;
  const ScanKernel scan =
      (plan.columns ? table.columns : table.rows)[params.op][int(views[1].dtype)];
  const int64_t *step = plan.step, (*stride)[kMaxDims] = plan.seq.stride;
  for_fold(plan, [&](int64_t, int64_t, const int64_t* offset, int64_t n, int64_t, int64_t) {
    scan({views[1].data + offset[0], views[0].data + offset[1], plan.length, stride[0][0],
          stride[1][0], n, step[0], step[1]});
  });
}

py::object cumulative(int op, py::handle x_array, py::handle axis_index) {
  check(op >= 0 && op < 2, ErrorKind::value, "cumulative: op must be in [0, 2), got ", op);
  const char* name = kScanNames[op];
  const View x = view_of(x_array, name, "x");
  const int axis = read_axis(axis_index, x.ndim, name);
  Output y = empty_like(name, is_float(x.dtype) ? x.dtype : accumulator_of(0, x.dtype), x);
  const View views[2] = {x, y.view};
  const AxisParams params{make_scan_plan(views, 2, axis, 8), op};
  if (x.size() > 0)
    run(scan_kernel, params, {y.view, x}, x.size(),
        is_float(x.dtype) ? Arithmetic::floating : Arithmetic::exact);
  return y.array;
}

}  // namespace

void bind_scan(py::module_& m) {
  m.def("arg_reduce", &arg_reduce, py::arg("op"), py::arg("x"), py::arg("axis"),
        py::arg("keepdims"));
  m.def("arg_reduce_ops", [] { return names_of(kArgNames); });
  m.def("cumulative", &cumulative, py::arg("op"), py::arg("x"), py::arg("axis"));
  m.def("cumulative_ops", [] { return names_of(kScanNames); });
}

}  // namespace tg

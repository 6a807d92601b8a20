// moments: mean and biased variance over any axes.
#include "core/args.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "ops/copy/prepare.h"
#include "ops/reduce/fold_plan.h"
#include "ops/reduce/reduce.h"

namespace tg {
namespace {

struct PlanParams {
  FoldPlan plan;
};

// views: mean, var, x; where the sequence is cut, mean and m2 of the segments.
void moments_kernel(const PlanParams& params, const View* views) {
  const View &x = views[2], &means = views[3], &squares = views[4];
  const FoldPlan& plan = params.plan;
  const MomentTable& table = *kernels().row->moment;
  const int t = float_index(x.dtype), cell = itemsize(means.dtype);
  const MomentKernel moments = (plan.columns ? table.columns : table.rows)[t];
  const int64_t results = plan.results();
  for_fold(plan, [&](int64_t segment, int64_t at, const int64_t* offset, int64_t n, int64_t begin,
                     int64_t end) {
    const int64_t where = (segment * results + at) * cell;
    moments(plan.seq, x.data + offset[0], plan.step[0], n, begin, end, means.data + where,
            squares.data + where);
  });
  table.join[t](plan.segments, plan.segment, plan.length, results, results, means.data,
                squares.data);
  if (plan.segments == 1) return;
  std::memcpy(views[0].data, means.data, results * cell);
  std::memcpy(views[1].data, squares.data, results * cell);
}

py::object moments(py::handle x_array, py::handle axes) {
  const View x = view_of(x_array, "moments", "x");
  check_float("moments", x, "x");
  bool reduced[kMaxDims];
  read_axes(axes, x.ndim, "moments", reduced);
  const Moments m = moments_of("moments", x, reduced, true);
  return py::make_tuple(finished("moments", m.mean, x.dtype), finished("moments", m.var, x.dtype));
}

}  // namespace

Moments moments_of(const char* op, const View& x, const bool* reduced, bool keepdims) {
  const DType t = compute_dtype(x.dtype);
  Moments m{empty_reduced(op, t, x, reduced, keepdims), empty_reduced(op, t, x, reduced, keepdims)};
  PlanParams params{make_fold_plan(&x, 1, reduced, 2 * itemsize(t))};
  const int64_t parts = params.plan.results() * params.plan.segments;
  if (parts == 0) return m;
  Output means = m.mean, squares = m.var;
  if (params.plan.segments > 1) {
    means = empty(op, t, 1, &parts);
    squares = empty(op, t, 1, &parts);
  }
  run(moments_kernel, params, {m.mean.view, m.var.view, x, means.view, squares.view}, 4 * x.size());
  return m;
}

void bind_moments(py::module_& m) { m.def("moments", &moments, py::arg("x"), py::arg("axes")); }

}  // namespace tg

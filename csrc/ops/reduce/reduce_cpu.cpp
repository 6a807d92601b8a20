// reduce: sum, prod, max, min, any, all over any axes.
#include <algorithm>

#include "core/args.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "ops/copy/prepare.h"
#include "ops/reduce/fold_plan.h"
#include "ops/reduce/reduce.h"

namespace tg {
namespace {

struct ReduceParams {
  FoldPlan plan;
  int op;
};

FoldKernel fold_kernel(int op, DType t, bool columns) {
  const RowKernels& row = *kernels().row;
  const FoldTable& table = op < 4 && is_float(t) ? *row.fold_arithmetic : *row.fold_exact;
  return (columns ? table.columns : table.rows)[op][int(t)];
}

// views: the results in the accumulator's dtype, x, and the results of each segment.
void reduce_kernel(const ReduceParams& params, const View* views) {
  const View &sums = views[0], &x = views[1], &parts = views[2];
  const FoldPlan& plan = params.plan;
  const int cell = itemsize(sums.dtype);
  const int64_t results = plan.results();
  const FoldKernel fold = fold_kernel(params.op, x.dtype, plan.columns);
  char* const first = plan.segments > 1 ? parts.data : sums.data;
  for_fold(plan, [&](int64_t segment, int64_t at, const int64_t* offset, int64_t n, int64_t begin,
                     int64_t end) {
    fold(plan.seq, x.data + offset[0], plan.step[0], n, begin, end,
         first + (segment * results + at) * cell);
  });
  if (plan.segments > 1) {
    const FoldKernel join = fold_kernel(params.op, sums.dtype, true);
    Sequence seq{};
    seq.ndim = 1;
    seq.size[0] = plan.segments;
    seq.stride[0][0] = results * cell;
    parallel_for(results, kFoldGrain / plan.segments, [&](int64_t begin, int64_t end) {
      join(seq, parts.data + begin * cell, cell, end - begin, 0, plan.segments,
           sums.data + begin * cell);
    });
  }
}

py::object reduce(int op, py::handle x_array, py::handle axes, bool keepdims) {
  check(op >= 0 && op < 6, ErrorKind::value, "reduce: op must be in [0, 6), got ", op);
  const char* name = kReduceNames[op];
  const View x = view_of(x_array, name, "x");
  bool reduced[kMaxDims];
  read_axes(axes, x.ndim, name, reduced);
  const DType acc = accumulator_of(op, x.dtype);
  ReduceParams params;
  params.op = op;
  params.plan = make_fold_plan(&x, 1, reduced, itemsize(acc));
  if (params.plan.length == 0 && (op == 2 || op == 3))
    for (int a = 0; a < x.ndim; ++a)
      if (reduced[a]) check_not_empty(name, x, a);
  const Output sums = empty_reduced(name, acc, x, reduced, keepdims);
  const int64_t parts = params.plan.results() * params.plan.segments;
  if (parts > 0) {
    const Output partial = params.plan.segments > 1 ? empty(name, acc, 1, &parts) : sums;
    run(reduce_kernel, params, {sums.view, x, partial.view}, x.size(),
        op < 2 && is_float(x.dtype) ? Arithmetic::floating : Arithmetic::exact);
  }
  return finished(name, sums, op < 4 && is_half(x.dtype) ? x.dtype : acc);
}

}  // namespace

const char* const kReduceNames[6] = {"sum", "prod", "max", "min", "any", "all"};

void read_axes(py::handle axes, int ndim, const char* op, bool* reduced) {
  int64_t list[kMaxDims];
  const int n = integers_of(axes, list, kMaxDims, op, "axes");
  std::fill_n(reduced, kMaxDims, false);
  for (int i = 0; i < n; ++i) {
    check(list[i] >= 0 && list[i] < ndim, ErrorKind::index, op, ": axis ", list[i],
          " is out of range for an array of ", ndim, " dimensions");
    check(!reduced[list[i]], ErrorKind::value, op, ": axis ", list[i], " appears twice");
    reduced[list[i]] = true;
  }
}

int read_axis(py::handle axis, int ndim, const char* op) {
  const int64_t a = integer_of(axis, op, "axis");
  check(a >= 0 && a < ndim, ErrorKind::index, op, ": axis ", a, " is out of range for an array of ",
        ndim, " dimensions");
  return int(a);
}

void check_not_empty(const char* op, const View& x, int axis) {
  check(x.shape[axis] != 0, ErrorKind::value, op, ": cannot reduce over an empty axis, axis ", axis,
        " of x of shape ", shape_of(x));
}

void bind_moments(py::module_&);
void bind_scan(py::module_&);

void bind_reduce(py::module_& m) {
  m.def("reduce", &reduce, py::arg("op"), py::arg("x"), py::arg("axes"), py::arg("keepdims"));
  m.def("reduce_ops", [] { return names_of(kReduceNames); });
  bind_scan(m);
  bind_moments(m);
}

}  // namespace tg

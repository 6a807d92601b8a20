// unary, unary_bool, unary_grad, binary, binary_into, compare, where, cast: check, allocate, run.
#include "core/array.h"
#include "core/chains.h"
#include "core/dispatch.h"
#include "core/run.h"
#include "ops/copy/copy.h"
#include "ops/elementwise/apply.h"

namespace tg {
namespace {

#define TG_NAME(op) #op,
constexpr const char* kUnary[] = {TG_UNARY_OPS(TG_NAME)};
constexpr const char* kUnaryBool[] = {TG_UNARY_BOOL_OPS(TG_NAME)};
constexpr const char* kUnaryGrad[] = {TG_UNARY_GRAD_OPS(TG_NAME)};
constexpr const char* kBinary[] = {TG_BINARY_OPS(TG_NAME)};
constexpr const char* kCompare[] = {TG_COMPARE_OPS(TG_NAME)};
#undef TG_NAME

template <class Op, int N>
Op checked_op(const char* entry, int op, const char* const (&)[N]) {
  check(op >= 0 && op < N, ErrorKind::value, entry, ": op must be in [0, ", N, "), got ", op);
  return Op(op);
}
ElementKernel defined(ElementKernel kernel, const char* op, DType t) {
  check(kernel != nullptr, ErrorKind::dtype, op, ": not defined for ", dtype_name(t));
  return kernel;
}

// Rough cost of one element. It decides how many elements a thread should at least have.
enum class Cost { move = 1, polynomial = 8, library = 16 };

// views: the output, and the inputs broadcast to its shape.
template <int N>
void element_kernel(const ElementParams& params, const View* views) {
  apply_elements<N>(params.op, params.grain, views);
}

template <int N>
void run_elements(ElementKernel kernel, const View (&views)[N], double p0, double p1, Cost cost,
                  Arithmetic arithmetic) {
  const ElementParams params{{kernel, N - 1, {}, p0, p1, false},
                             cost == Cost::move ? 32768 : 65536 / int(cost)};
  run(element_kernel<N>, params, views, views[0].size() * int(cost), arithmetic);
}

// What only chooses, rounds or changes the sign keeps denormals.
Arithmetic arithmetic_of(Unary op) {
  switch (op) {
    case Unary::neg:
    case Unary::abs:
    case Unary::sign:
    case Unary::floor:
    case Unary::ceil:
    case Unary::trunc:
    case Unary::round:
    case Unary::relu:
    case Unary::clamp:
    case Unary::bitwise_not: return Arithmetic::exact;
    default: return Arithmetic::floating;
  }
}
Arithmetic arithmetic_of(Binary op) {
  switch (op) {
    case Binary::maximum:
    case Binary::minimum:
    case Binary::copysign:
    case Binary::bitwise_and:
    case Binary::bitwise_or:
    case Binary::bitwise_xor:
    case Binary::left_shift:
    case Binary::right_shift: return Arithmetic::exact;
    default: return Arithmetic::floating;
  }
}

Cost cost_of(Unary op) {
  switch (op) {
    case Unary::tan:
    case Unary::asin:
    case Unary::acos:
    case Unary::atan:
    case Unary::sinh:
    case Unary::cosh:
    case Unary::asinh:
    case Unary::acosh:
    case Unary::atanh: return Cost::library;
    case Unary::square:
    case Unary::reciprocal:
    case Unary::sqrt:
    case Unary::rsqrt:
    case Unary::leaky_relu: return Cost::move;
    default: return arithmetic_of(op) == Arithmetic::exact ? Cost::move : Cost::polynomial;
  }
}
Cost cost_of(UnaryGrad op) {
  switch (op) {
    case UnaryGrad::relu:
    case UnaryGrad::leaky_relu:
    case UnaryGrad::sigmoid:
    case UnaryGrad::tanh: return Cost::move;
    default: return Cost::polynomial;
  }
}
Cost cost_of(Binary op) {
  switch (op) {
    case Binary::floor_divide:
    case Binary::remainder:
    case Binary::fmod:
    case Binary::pow:
    case Binary::atan2: return Cost::library;
    case Binary::logaddexp: return Cost::polynomial;
    default: return Cost::move;
  }
}

py::object unary(int op, py::handle x, double p0, double p1) {
  const Unary id = checked_op<Unary>("unary", op, kUnary);
  const View v = view_of(x, "unary", "x");
  const ElementKernel kernel =
      defined(kernels().elementwise->unary(id, v.dtype), kUnary[op], v.dtype);
  check(id != Unary::clamp || is_float(v.dtype) || (p0 == p0 && p1 == p1), ErrorKind::value,
        "clamp: expects bounds that are numbers for ", dtype_name(v.dtype), ", got ", p0, " and ",
        p1);
  Output out = empty_like("unary", v.dtype, v);
  run_elements(kernel, {out.view, v}, p0, p1, cost_of(id), arithmetic_of(id));
  return out.array;
}

py::object unary_bool(int op, py::handle x) {
  const UnaryBool id = checked_op<UnaryBool>("unary_bool", op, kUnaryBool);
  const View v = view_of(x, "unary_bool", "x");
  Output out = empty_like("unary_bool", DType::b1, v);
  run_elements(kernels().elementwise->unary_bool(id, v.dtype), {out.view, v}, 0, 0, Cost::move,
               Arithmetic::exact);
  return out.array;
}

View like(const View& v, const View& out) { return broadcast_to(v, out.ndim, out.shape); }

py::object unary_grad(int op, py::handle g, py::handle v, double p0, double p1) {
  const UnaryGrad id = checked_op<UnaryGrad>("unary_grad", op, kUnaryGrad);
  const View a = view_of(g, "unary_grad", "g"), b = view_of(v, "unary_grad", "v");
  check_same_dtype("unary_grad", a, "g", b, "v");
  const ElementKernel kernel =
      defined(kernels().elementwise->unary_grad(id, a.dtype), kUnaryGrad[op], a.dtype);
  Output out = empty_broadcast("unary_grad", a.dtype, {&a, &b}, {"g", "v"});
  run_elements(kernel, {out.view, like(a, out.view), like(b, out.view)}, p0, p1, cost_of(id),
               id == UnaryGrad::relu ? Arithmetic::exact : Arithmetic::floating);
  return out.array;
}

template <class Test>
bool contains(const View& v, Test&& test) {
  bool found = false;
  const View* const views[] = {&v};
  const auto loop = make_loop<1>(views);
  dispatch_integer("binary", v.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for_rows(loop, 0, loop.size, [&](char** p, const int64_t* s, int64_t n) {
      for (int64_t i = 0; i < n && !found; ++i)
        found = test(*reinterpret_cast<const T*>(p[0] + i * s[0]));
    });
  });
  return found;
}

struct OperandParams {
  Binary op;
};

// views: the second operand.
void operand_kernel(const OperandParams& p, const View* views) {
  const Binary op = p.op;
  const View& b = views[0];
  if (op == Binary::floor_divide || op == Binary::remainder || op == Binary::fmod) {
    check(!contains(b, [](auto x) { return x == 0; }), ErrorKind::zero_division, kBinary[int(op)],
          ": division of ", dtype_name(b.dtype), " by zero: other contains 0");
  } else if (op == Binary::pow) {
    check(!contains(b, [](auto x) { return x < 0; }), ErrorKind::value,
          "pow: ", dtype_name(b.dtype),
          " has no negative powers, but other contains one; use floats");
  }
}

// What integers cannot do is refused before anything is written, in a replay too.
void check_integer_operand(Binary op, const View& b) {
  if (is_integer(b.dtype) && (op == Binary::floor_divide || op == Binary::remainder ||
                              op == Binary::fmod || op == Binary::pow))
    run(operand_kernel, OperandParams{op}, {b}, b.size(), Arithmetic::exact);
}

struct BinaryCall {
  Binary op;
  ElementKernel kernel;
};
BinaryCall checked_binary(const char* entry, int op, const View& a, const View& b) {
  const Binary id = checked_op<Binary>(entry, op, kBinary);
  check_same_dtype(kBinary[op], a, "input", b, "other");
  return {id, defined(kernels().elementwise->binary(id, a.dtype), kBinary[op], a.dtype)};
}
void run_binary(const BinaryCall& call, const View& out, const View& a, const View& b) {
  run_elements(call.kernel, {out, like(a, out), like(b, out)}, 0, 0, cost_of(call.op),
               arithmetic_of(call.op));
}

py::object binary(int op, py::handle a, py::handle b) {
  const View x = view_of(a, "binary", "input"), y = view_of(b, "binary", "other");
  const BinaryCall call = checked_binary("binary", op, x, y);
  Output out = empty_broadcast(kBinary[op], x.dtype, {&x, &y}, {"input", "other"});
  if (out.view.size() != 0) check_integer_operand(call.op, y);
  run_binary(call, out.view, x, y);
  return out.array;
}

// v as an operand of out, which may be v itself; a copy where they share memory in another way.
View operand_of(const char* op, const View& out, const View& v, const char* name,
                py::object* keep) {
  bool fits = v.ndim <= out.ndim;
  for (int i = 0; i < v.ndim && fits; ++i) {
    const int64_t have = v.shape[i], want = out.shape[out.ndim - v.ndim + i];
    fits = have == want || have == 1;
  }
  check(fits, ErrorKind::shape, op, ": ", name, " of shape ", shape_of(v),
        " does not broadcast to ", shape_of(out), ", which it is written into");
  const View seen = like(v, out);
  bool same = seen.data == out.data;
  for (int i = 0; i < out.ndim; ++i) same = same && seen.strides[i] == out.strides[i];
  if (same || !may_overlap(out, v)) return seen;
  Output copy = empty_like("binary_into", v.dtype, v);
  copy_elements(copy.view, v);
  *keep = copy.array;
  return like(copy.view, out);
}

void binary_into(int op, py::handle a, py::handle b, py::handle out) {
  const View x = view_of(a, "binary_into", "input"), y = view_of(b, "binary_into", "other");
  const View z = writable_view_of(out, "binary_into", "out");
  const BinaryCall call = checked_binary("binary_into", op, x, y);
  check_same_dtype("binary_into", x, "input", z, "out");
  py::object keep_a, keep_b;
  const View left = operand_of(kBinary[op], z, x, "input", &keep_a),
             right = operand_of(kBinary[op], z, y, "other", &keep_b);
  if (z.size() != 0) check_integer_operand(call.op, y);
  run_binary(call, z, left, right);
}

py::object compare(int op, py::handle a, py::handle b) {
  const Compare id = checked_op<Compare>("compare", op, kCompare);
  const View x = view_of(a, "compare", "input"), y = view_of(b, "compare", "other");
  check_same_dtype(kCompare[op], x, "input", y, "other");
  Output out = empty_broadcast(kCompare[op], DType::b1, {&x, &y}, {"input", "other"});
  run_elements(kernels().elementwise->compare(id, x.dtype),
               {out.view, like(x, out.view), like(y, out.view)}, 0, 0, Cost::move,
               Arithmetic::exact);
  return out.array;
}

py::object where(py::handle cond, py::handle a, py::handle b) {
  View c = view_of(cond, "where", "condition"), x = view_of(a, "where", "input"),
       y = view_of(b, "where", "other");
  check(c.dtype == DType::b1, ErrorKind::dtype, "where: condition must be bool, got ",
        dtype_name(c.dtype));
  check_same_dtype("where", x, "input", y, "other");
  Output out = empty_broadcast("where", x.dtype, {&c, &x, &y}, {"condition", "input", "other"});
  // Elements only move: the half types do as integers of their width.
  View moved = out.view;
  if (is_half(x.dtype)) moved.dtype = x.dtype = y.dtype = DType::u16;
  run_elements(kernels().elementwise->where(itemsize(x.dtype)),
               {moved, like(c, moved), like(x, moved), like(y, moved)}, 0, 0, Cost::move,
               Arithmetic::exact);
  return out.array;
}

py::object cast(py::handle x, py::handle dtype) {
  const View v = view_of(x, "cast", "x");
  const DType to = dtype_of(dtype, "cast");
  Output out = empty_like("cast", to, v);
  run_elements(kernels().elementwise->cast(v.dtype, to), {out.view, v}, 0, 0, Cost::move,
               Arithmetic::exact);
  return out.array;
}

template <int N>
py::list list_of(const char* const (&names)[N]) {
  py::list list;
  for (const char* name : names) list.append(name);
  return list;
}
py::dict ops() {
  py::dict all;
  all["UNARY"] = list_of(kUnary);
  all["UNARY_BOOL"] = list_of(kUnaryBool);
  all["UNARY_GRAD"] = list_of(kUnaryGrad);
  all["BINARY"] = list_of(kBinary);
  all["COMPARE"] = list_of(kCompare);
  return all;
}

}  // namespace

void bind_elementwise(py::module_& m) {
  for (const auto kernel : {element_kernel<2>, element_kernel<3>, element_kernel<4>})
    register_elementwise(reinterpret_cast<void (*)()>(kernel));
  m.def("unary", &unary, py::arg("op"), py::arg("x"), py::arg("p0") = 0.0, py::arg("p1") = 0.0);
  m.def("unary_bool", &unary_bool, py::arg("op"), py::arg("x"));
  m.def("unary_grad", &unary_grad, py::arg("op"), py::arg("g"), py::arg("v"), py::arg("p0") = 0.0,
        py::arg("p1") = 0.0);
  m.def("binary", &binary, py::arg("op"), py::arg("a"), py::arg("b"));
  m.def("binary_into", &binary_into, py::arg("op"), py::arg("a"), py::arg("b"), py::arg("out"));
  m.def("compare", &compare, py::arg("op"), py::arg("a"), py::arg("b"));
  m.def("where", &where, py::arg("cond"), py::arg("a"), py::arg("b"));
  m.def("cast", &cast, py::arg("x"), py::arg("dtype"));
  m.def("ops", &ops, "The names behind the op ids, as in tilegrad.kernels.contract.");
}

}  // namespace tg

// The steps of the optimizers: in place on lists of arrays, any strides. The elements of all arrays
// of a list are one range, which the threads share out.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/loop.h"
#include "core/run.h"
#include "cpu/isa/kernels.h"
#include "cpu/isa/optim_kernels.h"
#include "ops/optim/lists.h"

namespace tg {
namespace {

constexpr int64_t kSerial = 65536;  // elements for which waking a thread does not pay
constexpr int64_t kGrain = 2048;    // beyond, shares of the threads are whole grains

template <class Numbers>
struct StepParams {
  Numbers numbers;
  StepRow<Numbers> row;
  int64_t count, elements;
};

template <class Numbers, int K>
void step_kernel(const StepParams<Numbers>& o, const View* views) {
  const int64_t grain = o.elements > kSerial ? kGrain : kSerial;
  parallel_for(o.elements, grain, [&](int64_t begin, int64_t end) {
    int64_t start = 0;
    for (int64_t t = 0; t < o.count && start < end; ++t) {
      const View* v = views + t * K;
      const int64_t size = v->size(), stop = std::min(end - start, size);
      const int64_t from = std::max<int64_t>(begin - start, 0);
      start += size;
      if (from >= stop) continue;
      const View* operands[K];
      for (int k = 0; k < K; ++k) operands[k] = v + k;
      const auto loop = make_loop<K>(operands);
      for_rows(loop, from, stop, [&](char** p, const int64_t* strides, int64_t n) {
        o.row(o.numbers, p, strides, n);
      });
    }
  });
}

template <class Numbers>
void step(const char* op, const Numbers& numbers, const StepRows<Numbers>& rows,
          std::initializer_list<ListArgument> arguments) {
  if (new_numbers != nullptr) {  // for a recorded step
    std::memcpy(new_numbers, &numbers, sizeof numbers);
    return;
  }
  const Lists lists(op, arguments);
  if (lists.elements == 0) return;
  const auto go = [&](auto kernel) {
    const int dtype = int(lists.views[0].dtype) - int(DType::f16);
    const StepParams<Numbers> params{numbers, rows.of[dtype], lists.count, lists.elements};
    run(kernel, params, lists.views.data(), int64_t(lists.views.size()), 4 * lists.elements);
  };
  switch (lists.operands) {
    case 1: return go(step_kernel<Numbers, 1>);
    case 2: return go(step_kernel<Numbers, 2>);
    case 3: return go(step_kernel<Numbers, 3>);
    case 4: return go(step_kernel<Numbers, 4>);
    default: return go(step_kernel<Numbers, 5>);
  }
}

const OptimKernels& table() { return *kernels().optim; }

StepNumbers common(double lr, double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  return {maximize, decoupled ? 0 : weight_decay,
          decoupled && weight_decay != 0 ? 1 - lr * weight_decay : 1, lr * l1_decay};
}

// 1 - beta^t
double correction(const char* op, double beta, int64_t t) {
  check(t >= 1, ErrorKind::value, op, ": expected step >= 1, got ", t);
  return 1 - std::pow(beta, double(t));
}

ListArgument gradients(py::handle grads) { return {"grads", grads, false}; }
ListArgument maybe(const char* name, py::handle arrays) { return {name, arrays, true, true}; }

void sgd_step(py::handle params, py::handle grads, py::handle momentum_buffers, double lr,
              double momentum, double dampening, bool nesterov, bool first, double weight_decay,
              bool decoupled, bool maximize, double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("sgd_step", SgdNumbers{base, lr, momentum, 1 - dampening, nesterov, first},
       momentum_buffers.is_none() ? table().sgd : table().sgd_momentum,
       {{"params", params}, gradients(grads), maybe("momentum_buffers", momentum_buffers)});
}

void adam_step(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs,
               py::handle max_exp_avg_sqs, double lr, double beta1, double beta2, double eps,
               int64_t step_, double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  const char* op = "adam_step";
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  const AdamNumbers numbers{base,
                            1 - beta1,
                            beta2,
                            1 - beta2,
                            eps,
                            lr / correction(op, beta1, step_),
                            1 / std::sqrt(correction(op, beta2, step_))};
  step(op, numbers, max_exp_avg_sqs.is_none() ? table().adam : table().amsgrad,
       {{"params", params},
        gradients(grads),
        {"exp_avgs", exp_avgs},
        {"exp_avg_sqs", exp_avg_sqs},
        maybe("max_exp_avg_sqs", max_exp_avg_sqs)});
}

void rmsprop_step(py::handle params, py::handle grads, py::handle square_avgs, py::handle grad_avgs,
                  py::handle momentum_buffers, double lr, double alpha, double eps, double momentum,
                  double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("rmsprop_step", RmspropNumbers{base, lr, alpha, 1 - alpha, eps, momentum},
       table().rmsprop[!grad_avgs.is_none()][!momentum_buffers.is_none()],
       {{"params", params},
        gradients(grads),
        {"square_avgs", square_avgs},
        maybe("grad_avgs", grad_avgs),
        maybe("momentum_buffers", momentum_buffers)});
}

void adagrad_step(py::handle params, py::handle grads, py::handle sums, double lr, double lr_decay,
                  double eps, int64_t step_, double weight_decay, bool decoupled, bool maximize,
                  double l1_decay) {
  const char* op = "adagrad_step";
  check(step_ >= 1, ErrorKind::value, op, ": expected step >= 1, got ", step_);
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step(op, AdagradNumbers{base, lr / (1 + double(step_ - 1) * lr_decay), eps}, table().adagrad,
       {{"params", params}, gradients(grads), {"sums", sums}});
}

void adadelta_step(py::handle params, py::handle grads, py::handle square_avgs,
                   py::handle acc_deltas, double lr, double rho, double eps, double weight_decay,
                   bool decoupled, bool maximize, double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("adadelta_step", AdadeltaNumbers{base, lr, rho, 1 - rho, eps}, table().adadelta,
       {{"params", params},
        gradients(grads),
        {"square_avgs", square_avgs},
        {"acc_deltas", acc_deltas}});
}

void adamax_step(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_infs,
                 double lr, double beta1, double beta2, double eps, int64_t step_,
                 double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  const char* op = "adamax_step";
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step(op, AdamaxNumbers{base, 1 - beta1, beta2, eps, lr / correction(op, beta1, step_)},
       table().adamax,
       {{"params", params}, gradients(grads), {"exp_avgs", exp_avgs}, {"exp_infs", exp_infs}});
}

void nadam_step(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs,
                double lr, double beta1, double beta2, double eps, double mu, double mu_next,
                double mu_product, int64_t step_, double weight_decay, bool decoupled,
                bool maximize, double l1_decay) {
  const char* op = "nadam_step";
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  const NadamNumbers numbers{base,
                             1 - beta1,
                             beta2,
                             1 - beta2,
                             eps,
                             1 / correction(op, beta2, step_),
                             lr * (1 - mu) / (1 - mu_product),
                             lr * mu_next / (1 - mu_product * mu_next)};
  step(
      op, numbers, table().nadam,
      {{"params", params}, gradients(grads), {"exp_avgs", exp_avgs}, {"exp_avg_sqs", exp_avg_sqs}});
}

void radam_step(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs,
                double lr, double beta1, double beta2, double eps, int64_t step_,
                double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  const char* op = "radam_step";
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  const double rest = correction(op, beta2, step_), longest = 2 / (1 - beta2) - 1;
  const double rho = longest - 2 * double(step_) * (1 - rest) / rest;
  const bool rectified = rho > 5;
  double rate = lr / correction(op, beta1, step_);
  if (rectified)
    rate *=
        std::sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho) * rest);
  step(
      op, RadamNumbers{base, 1 - beta1, beta2, 1 - beta2, eps, rate, rectified}, table().radam,
      {{"params", params}, gradients(grads), {"exp_avgs", exp_avgs}, {"exp_avg_sqs", exp_avg_sqs}});
}

void asgd_step(py::handle params, py::handle grads, py::handle axs, double lr, double lambd,
               double eta, double mu, double weight_decay, bool decoupled, bool maximize,
               double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("asgd_step", AsgdNumbers{base, 1 - lambd * eta, eta, mu}, table().asgd,
       {{"params", params}, gradients(grads), {"axs", axs}});
}

void rprop_step(py::handle params, py::handle grads, py::handle prevs, py::handle step_sizes,
                double lr, double shrink, double grow, double low, double high, double weight_decay,
                bool decoupled, bool maximize, double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("rprop_step", RpropNumbers{base, shrink, grow, low, high}, table().rprop,
       {{"params", params}, gradients(grads), {"prevs", prevs}, {"step_sizes", step_sizes}});
}

void lion_step(py::handle params, py::handle grads, py::handle exp_avgs, double lr, double beta1,
               double beta2, double weight_decay, bool decoupled, bool maximize, double l1_decay) {
  const auto base = common(lr, weight_decay, decoupled, maximize, l1_decay);
  step("lion_step", LionNumbers{base, lr, beta1, 1 - beta1, 1 - beta2}, table().lion,
       {{"params", params}, gradients(grads), {"exp_avgs", exp_avgs}});
}

struct LimitParams {
  StepParams<ScaleNumbers> step;
  double limit;
};

// views: the arrays, their norm.
void limit_kernel(const LimitParams& o, const View* views) {
  const View& norm = views[o.step.count];
  const double total = norm.dtype == DType::f64 ? *norm.ptr<double>() : *norm.ptr<float>();
  StepParams<ScaleNumbers> scale = o.step;
  scale.numbers.factor = o.limit / (total + 1e-6);
  if (!(scale.numbers.factor >= 1)) step_kernel<ScaleNumbers, 1>(scale, views);  // also where NaN
}

void scale_all(py::handle arrays, py::handle total, double limit) {
  const char* op = "scale_all";
  const View norm = view_of(total, op, "total");
  check(norm.ndim == 0 && (norm.dtype == DType::f32 || norm.dtype == DType::f64), ErrorKind::dtype,
        op, ": total must be a 0-d array of float32 or float64, got ", dtype_name(norm.dtype),
        " of shape ", shape_of(norm));
  Lists lists(op, {{"arrays", arrays}});
  if (lists.elements == 0) return;
  const int dtype = int(lists.views[0].dtype) - int(DType::f16);
  const LimitParams params{{{1}, table().scale.of[dtype], lists.count, lists.elements}, limit};
  lists.views.push_back(norm);
  run(limit_kernel, params, lists.views.data(), int64_t(lists.views.size()), 4 * lists.elements);
}

constexpr int64_t kChunk = 16384;  // elements of one array whose sum is one term of the total

struct NormParams {
  NormRow row;
  bool squares;
  int64_t count, chunks, elements;
};

// views: the arrays, a place for one number per chunk, the result.
void norm_kernel(const NormParams& o, const View* views) {
  double* parts = views[o.count].ptr<double>();
  parallel_for(o.chunks, o.elements > kSerial ? 2 : o.chunks, [&](int64_t begin, int64_t end) {
    int64_t start = 0;
    for (int64_t t = 0; t < o.count && start < end; ++t) {
      const int64_t size = views[t].size(), chunks = (size + kChunk - 1) / kChunk;
      const int64_t from = std::max<int64_t>(begin - start, 0),
                    stop = std::min(end - start, chunks);
      if (from < stop) {
        const View* operands[] = {views + t};
        const auto loop = make_loop<1>(operands);
        for (int64_t c = from; c < stop; ++c) {
          double part = 0;
          for_rows(loop, c * kChunk, std::min(size, (c + 1) * kChunk),
                   [&](char** p, const int64_t* strides, int64_t n) {
                     const double x = o.row(p[0], strides[0], n);
                     part = o.squares ? part + x : x > part || x != x ? x : part;
                   });
          parts[start + c] = part;
        }
      }
      start += chunks;
    }
  });
  double total = 0;
  for (int64_t i = 0; i < o.chunks; ++i)
    total = o.squares                                  ? total + parts[i]
            : parts[i] > total || parts[i] != parts[i] ? parts[i]
                                                       : total;
  *views[o.count + 1].ptr<double>() = o.squares ? std::sqrt(total) : total;
}

py::object total_norm(py::handle arrays, double power) {
  const char* op = "total_norm";
  const bool squares = power == 2;
  check(squares || power == std::numeric_limits<double>::infinity(), ErrorKind::value, op,
        ": power must be 2 or inf, got ", power);
  Lists lists(op, {{"arrays", arrays, false}});
  int64_t chunks = 0;
  for (const View& v : lists.views) chunks += (v.size() + kChunk - 1) / kChunk;
  const Output parts = empty(op, DType::f64, 1, &chunks), y = empty(op, DType::f64, 0, nullptr);
  const int dtype = lists.count ? int(lists.views[0].dtype) - int(DType::f16) : 0;
  const NormParams params{squares ? table().squares[dtype] : table().largest[dtype], squares,
                          lists.count, chunks, lists.elements};
  lists.views.push_back(parts.view);
  lists.views.push_back(y.view);
  run(norm_kernel, params, lists.views.data(), int64_t(lists.views.size()), lists.elements);
  return y.array;
}

// Binds fn with the names of its own arguments between those that all steps share.
template <class Fn, class... Names>
void bind(py::module_& m, const char* name, Fn* fn, Names... names) {
  using py::arg;
  m.def(name, fn, arg("params"), arg("grads"), arg(names)..., arg("weight_decay"), arg("decoupled"),
        arg("maximize"), arg("l1_decay"));
}

}  // namespace

void bind_optim(py::module_& m) {
  bind(m, "sgd_step", sgd_step, "momentum_buffers", "lr", "momentum", "dampening", "nesterov",
       "first");
  bind(m, "adam_step", adam_step, "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "lr", "beta1",
       "beta2", "eps", "step");
  bind(m, "rmsprop_step", rmsprop_step, "square_avgs", "grad_avgs", "momentum_buffers", "lr",
       "alpha", "eps", "momentum");
  bind(m, "adagrad_step", adagrad_step, "sums", "lr", "lr_decay", "eps", "step");
  bind(m, "adadelta_step", adadelta_step, "square_avgs", "acc_deltas", "lr", "rho", "eps");
  bind(m, "adamax_step", adamax_step, "exp_avgs", "exp_infs", "lr", "beta1", "beta2", "eps",
       "step");
  bind(m, "nadam_step", nadam_step, "exp_avgs", "exp_avg_sqs", "lr", "beta1", "beta2", "eps", "mu",
       "mu_next", "mu_product", "step");
  bind(m, "radam_step", radam_step, "exp_avgs", "exp_avg_sqs", "lr", "beta1", "beta2", "eps",
       "step");
  bind(m, "asgd_step", asgd_step, "axs", "lr", "lambd", "eta", "mu");
  bind(m, "rprop_step", rprop_step, "prevs", "step_sizes", "lr", "shrink", "grow", "low", "high");
  bind(m, "lion_step", lion_step, "exp_avgs", "lr", "beta1", "beta2");
  m.def("total_norm", &total_norm, py::arg("arrays"), py::arg("power"));
  m.def("scale_all", &scale_all, py::arg("arrays"), py::arg("total"), py::arg("limit"));
}

}  // namespace tg

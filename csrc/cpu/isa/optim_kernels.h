// The step of each optimizer over a run of elements.
#pragma once
#include <cstdint>

namespace tg {

// The numbers of one step, computed in double; a kernel rounds them once to the type it computes
// in. Every optimizer changes the gradient and the parameter first and shrinks at the end.
struct StepNumbers {
  bool maximize;
  double decay;      // weight decay added to the gradient, 0 for none
  double keep;       // the parameter is multiplied by this first, 1 for no decoupled decay
  double threshold;  // how far the parameter moves towards zero at the end
};

struct SgdNumbers : StepNumbers {
  double lr, momentum, fresh;
  bool nesterov, first;
};
// rate, scale: lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
struct AdamNumbers : StepNumbers {
  double fresh1, beta2, fresh2, eps, rate, scale;
};
struct RmspropNumbers : StepNumbers {
  double lr, alpha, fresh, eps, momentum;
};
struct AdagradNumbers : StepNumbers {
  double rate, eps;
};
struct AdadeltaNumbers : StepNumbers {
  double lr, rho, fresh, eps;
};
struct AdamaxNumbers : StepNumbers {
  double fresh1, beta2, eps, rate;
};
// correction: 1 / (1 - beta2^t); the step goes along now * g + ahead * m
struct NadamNumbers : StepNumbers {
  double fresh1, beta2, fresh2, eps, correction, now, ahead;
};
struct RadamNumbers : StepNumbers {
  double fresh1, beta2, fresh2, eps, rate;
  bool rectified;
};
struct AsgdNumbers : StepNumbers {
  double shrink, eta, mu;
};
struct RpropNumbers : StepNumbers {
  double shrink, grow, low, high;
};
struct LionNumbers : StepNumbers {
  double lr, beta1, fresh1, fresh2;
};

struct ScaleNumbers {
  double factor;
};

// p: parameter, gradient, then the state; strides in bytes. All but the gradient are written.
template <class Numbers>
using StepRow = void (*)(const Numbers&, char* const* p, const int64_t* strides, int64_t n);

// By dtype: float16, bfloat16, float32, float64.
template <class Numbers>
struct StepRows {
  StepRow<Numbers> of[4];
};

// Over a run of elements: the sum of the squares, or the largest magnitude (NaN stays).
using NormRow = double (*)(const char* p, int64_t stride, int64_t n);

struct OptimKernels {
  StepRows<SgdNumbers> sgd, sgd_momentum;
  StepRows<AdamNumbers> adam, amsgrad;
  StepRows<RmspropNumbers> rmsprop[2][2];  // [centered][with momentum]
  StepRows<AdagradNumbers> adagrad;
  StepRows<AdadeltaNumbers> adadelta;
  StepRows<AdamaxNumbers> adamax;
  StepRows<NadamNumbers> nadam;
  StepRows<RadamNumbers> radam;
  StepRows<AsgdNumbers> asgd;
  StepRows<RpropNumbers> rprop;
  StepRows<LionNumbers> lion;
  StepRows<ScaleNumbers> scale;
  NormRow squares[4], largest[4];
};

}  // namespace tg

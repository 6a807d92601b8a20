// The functions of float and double lanes: exp exp2 expm1 sigmoid tanh, log log1p log2 log10,
// erf erfc, sin cos. At most 2 ulp (erf, erfc: 4); infinities, NaN and signed zeros as in C.
#pragma once
#include "cpu/isa/math_erf.h"
#include "cpu/isa/math_exp.h"
#include "cpu/isa/math_log.h"
#include "cpu/isa/math_trig.h"

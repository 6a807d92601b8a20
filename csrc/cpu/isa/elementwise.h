// Element-wise kernels: functions on contiguous elements, and the one loop that feeds them rows of
// any strides.
#pragma once
#include <cstdint>

#include "core/view.h"
#include "ops/elementwise/elementwise.h"

namespace tg {

// out[i] = f(in[0][i], in[1][i], ...; p0, p1) for i < n. out may be one of the inputs, but may not
// overlap them in any other way.
using ElementKernel = void (*)(char* out, const char* const* in, int64_t n, double p0, double p1);

// A kernel (none: the elements are only moved), and how its operands (0 is the output) lie in
// memory: bytes per element, and whether they are of a half type, which kernels see as float.
struct ElementOp {
  ElementKernel kernel;
  int inputs;
  DType dtypes[4];
  double p0, p1;
  bool stream;  // the output, contiguous along rows, is stored past the caches
};

constexpr int kTileBytes = 16384;  // of one operand, at most

struct ElementwiseKernels {
  // Applies op to n elements; p and strides: the output, then the inputs.
  void (*row)(const ElementOp& op, char* const* p, const int64_t* strides, int64_t n);
  // The same for rows of n elements `across` apart, which lie `down` apart. Inputs that are
  // contiguous down the rows are read in that direction.
  void (*tile)(const ElementOp& op, char* const* p, const int64_t* across, const int64_t* down,
               int64_t n, int64_t rows);
  void (*stream)(char* to, const char* from, int64_t bytes);  // a copy past the caches
  // The kernel of an op and the dtype of its inputs; nullptr where it is not defined. The half
  // types use the kernels of float32.
  ElementKernel (*unary)(Unary, DType);
  ElementKernel (*unary_bool)(UnaryBool, DType);
  ElementKernel (*unary_grad)(UnaryGrad, DType);
  ElementKernel (*binary)(Binary, DType);
  ElementKernel (*compare)(Compare, DType);
  ElementKernel (*where)(int itemsize);
  ElementKernel (*cast)(DType from, DType to);
};

}  // namespace tg

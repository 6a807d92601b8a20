// The look-ups of elementwise.h as each translation unit defines its own.
#pragma once
#include "cpu/isa/elementwise.h"
#include "cpu/isa/vec.h"

// One iteration does not depend on another, also where the output is one of the inputs.
#if defined(__clang__)
#define TG_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TG_INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace tg {
namespace TG_ISA {

ElementKernel unary_kernel(Unary, DType);
ElementKernel unary_bool_kernel(UnaryBool, DType);
ElementKernel unary_grad_kernel(UnaryGrad, DType);
ElementKernel binary_kernel(Binary, DType);
ElementKernel integer_unary_kernel(Unary, DType);    // integers and bool
ElementKernel integer_binary_kernel(Binary, DType);  // integers and bool
ElementKernel compare_kernel(Compare, DType);
ElementKernel where_kernel(int itemsize);
ElementKernel cast_kernel(DType from, DType to);

}  // namespace TG_ISA
}  // namespace tg

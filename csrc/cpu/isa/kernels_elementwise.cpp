#include "cpu/isa/elementwise.h"
namespace tg {
namespace TG_ISA {
extern const ElementwiseKernels elementwise_kernels;
const ElementwiseKernels elementwise_kernels{1};
}  // namespace TG_ISA
}  // namespace tg

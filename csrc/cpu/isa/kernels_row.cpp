// The table of row kernels of one instruction set.
#include "cpu/isa/row.h"

namespace tg {
namespace TG_ISA {

extern const FoldTable fold_arithmetic, fold_exact;
void to_half(const float* x, int64_t n, char* y);
void to_bfloat16(const float* x, int64_t n, char* y);

extern const RowKernels row_kernels;
const RowKernels row_kernels{&fold_arithmetic, &fold_exact, to_half, to_bfloat16};

}  // namespace TG_ISA
}  // namespace tg

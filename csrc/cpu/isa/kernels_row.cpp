// The table of row kernels of one instruction set.
#include "cpu/isa/row.h"

namespace tg {
namespace TG_ISA {

extern const FoldTable fold_arithmetic, fold_exact;
extern const ArgTable arg_table;
extern const ScanTable scan_table;
extern const MomentTable moment_table;
void to_half(const float* x, int64_t n, char* y);
void to_bfloat16(const float* x, int64_t n, char* y);

extern const RowKernels row_kernels;
const RowKernels row_kernels{&fold_arithmetic, &fold_exact, &arg_table, &scan_table,
                             &moment_table,    to_half,     to_bfloat16};

}  // namespace TG_ISA
}  // namespace tg

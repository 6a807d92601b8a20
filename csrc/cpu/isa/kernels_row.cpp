// The table of row kernels of one instruction set.
#include "cpu/isa/row.h"

namespace tg {
namespace TG_ISA {

extern const FoldTable fold_arithmetic, fold_exact;
extern const ArgTable arg_table;
extern const ScanTable scan_table;
extern const MomentTable moment_table;
extern const PoolTable pool_table;

extern const RowKernels row_kernels;
const RowKernels row_kernels{&fold_arithmetic, &fold_exact,   &arg_table,
                             &scan_table,      &moment_table, &pool_table};

}  // namespace TG_ISA
}  // namespace tg

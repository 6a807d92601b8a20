// The row kernels of an instruction set: reductions, scans, moments, pooling.
// Strides are in bytes; x is read through its own dtype, results are in the dtype named.
#pragma once
#include "core/view.h"

namespace tg {

// The elements one result is made of: reduced axes, outermost first, of one or two operands (a scan
// has its output as the second).
struct Sequence {
  int ndim;
  int64_t size[kMaxDims];
  int64_t stride[2][kMaxDims];
};

// y[o] from the elements [begin, end) of the sequence at x + o * step, for o < outs. y has the
// dtype of the accumulator (accumulator_of). One kernel runs along the sequence (rows), the other
// across neighbouring results (columns).
using FoldKernel = void (*)(const Sequence& seq, const char* x, int64_t step, int64_t outs,
                            int64_t begin, int64_t end, char* y);
constexpr int kColumnBytes = 2048;  // of results, which a column kernel takes at a time
struct FoldTable {
  FoldKernel rows[6][kNumDTypes];  // by REDUCE of the contract
  FoldKernel columns[6][kNumDTypes];
};

// y[o]: first index of the extreme among n >= 1 elements stride apart, results step apart.
using ArgKernel = void (*)(const char* x, int64_t stride, int64_t n, int64_t step, int64_t outs,
                           int64_t* y);
struct ArgTable {
  ArgKernel rows[2][kNumDTypes];  // by ARG_REDUCE of the contract
  ArgKernel columns[2][kNumDTypes];
};

// outs scans of n elements each.
struct ScanArgs {
  const char* x;
  char* y;
  int64_t n, x_stride, y_stride, outs, x_step, y_step;
};
using ScanKernel = void (*)(const ScanArgs&);
struct ScanTable {
  ScanKernel rows[2][kNumDTypes];  // by CUMULATIVE of the contract
  ScanKernel columns[2][kNumDTypes];
};

// Floating dtypes, from f16 on. Results are in the compute type, float or double.
constexpr int kFloats = 4;
inline int float_index(DType t) { return int(t) - int(DType::f16); }

// mean[o] and m2[o], the sum of squares about it.
using MomentKernel = void (*)(const Sequence& seq, const char* x, int64_t step, int64_t outs,
                              int64_t begin, int64_t end, char* mean, char* m2);
using MomentJoin = void (*)(int64_t segments, int64_t segment, int64_t length, int64_t pitch,
                            int64_t outs, char* mean, char* m2);
struct MomentTable {
  MomentKernel rows[kFloats], columns[kFloats];
  MomentJoin join[kFloats];
};

// One window position per lane: lane l reads tap[t] bytes and l * lane_step elements beyond base.
// y[l] is the maximum and index[l] = first + offset[t] + l * index_step of the first tap that holds
// it; offsets ascend from 0. Of several rows of n lanes each starts x_row bytes and place_row
// positions after the one before, which positions start over with every plane of plane_rows; the
// first one is row `row` of its plane. Rows of y and of index follow each other.
struct MaxTaps {
  const char* base;
  const int64_t *tap, *offset;
  int taps;  // 1 to kMostTaps
  int64_t lane_step, index_step, n;
  char* y;
  int64_t first;  // in row 0 of a plane
  char* index;
  int64_t rows = 1, x_row = 0, place_row = 0, row = 0, plane_rows = 1;
};
constexpr int64_t kMostTaps = 256;  // listed one by one; larger windows are walked by rows
// The types of index, by how far it must count.
enum PoolIndex { kIndex16, kIndex32, kIndex64, kPoolIndices };
// y[l * y_step] = sum over taps, divided by share * count[l] (by share without count; not at all
// where share is 0). Two phases, without a count, give y[2 l] and y[2 l + 1].
struct SumTaps {
  const char* base[2];
  const int64_t* tap[2];  // in bytes
  int taps[2], phases;
  int64_t lane_step, n;
  char* y;
  int64_t y_step;
  double share;
  const char* count;
};
// A window of size[i] elements stride[i] bytes apart: its first maximum, at tap[0 .. 2].
struct Window {
  const char* x;
  int64_t size[3], stride[3];
};
struct PoolTable {
  void (*max[kPoolIndices][kNumDTypes])(const MaxTaps&);  // none for the half types
  void (*max_window[kNumDTypes])(const Window&, char* y, int64_t* tap);
  void (*sum[kFloats])(const SumTaps&);
};

struct RowKernels {
  const FoldTable* fold_arithmetic;  // sum, prod, max, min of floating dtypes
  const FoldTable* fold_exact;       // the same of integers and bool; any and all of every dtype
  const ArgTable* arg;
  const ScanTable* scan;
  const MomentTable* moment;
  const PoolTable* pool;
};

// sum and prod of integers are formed in 64 bits, halves in float; any and all in bool.
inline DType accumulator_of(int op, DType t) {
  if (op >= 4) return DType::b1;
  if (is_half(t)) return DType::f32;
  if (op >= 2 || is_float(t)) return t;
  return t == DType::u64 ? DType::u64 : DType::i64;
}

}  // namespace tg

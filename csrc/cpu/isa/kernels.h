// What the CPU path knows about an instruction set: one table, chosen once at load.
//
// The files kernels_*.cpp in this folder are compiled once per instruction set, with its flags and
// TG_ISA set to its name, everything in namespace tg::TG_ISA, so that no function compiled for a
// newer CPU can be linked into the baseline (no inline std code in them). Each defines one table.
#pragma once

namespace tg {

struct ElementwiseKernels;  // elementwise.h
struct GemmKernels;         // gemm_kernels.h
struct RowKernels;          // row.h: reductions, softmax, pooling rows
struct NormKernels;         // norm_kernels.h
struct SoftmaxKernels;      // softmax_kernels.h
struct RecurrentKernels;    // recurrent_kernels.h
struct OptimKernels;        // optim_kernels.h
struct RandomKernels;       // random_kernels.h
struct WinogradKernels;     // winograd_kernels.h
struct DepthwiseKernels;    // depthwise_kernels.h
struct LadderKernels;       // ladder_kernels.h

struct Kernels {
  const char* name;
  const ElementwiseKernels* elementwise;
  const GemmKernels* gemm;
  const RowKernels* row;
  const NormKernels* norm;
  const SoftmaxKernels* softmax;
  const RecurrentKernels* recurrent;
  const OptimKernels* optim;
  const RandomKernels* random;
  const WinogradKernels* winograd;
  const DepthwiseKernels* depthwise;
  const LadderKernels* ladder;
};

const Kernels& kernels();             // the table in use
const char* const* available_isas();  // names this CPU can run, best first, nullptr at the end
bool set_isa(const char* name);       // false when unknown or not supported here
const char* why_not_isa(const char* name);

}  // namespace tg

#pragma once
namespace tg {
struct ElementwiseKernels {
  int lanes;
};
}  // namespace tg

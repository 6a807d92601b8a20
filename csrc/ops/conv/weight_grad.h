// The gradient of the weight as dot products along the positions of the lowered source.
#pragma once
#include "ops/conv/conv.h"

namespace tg {

// views: gw, g, x. Instances: float and double.
template <class T>
bool weight_grad(const ConvParams& p, const View* views);

}  // namespace tg

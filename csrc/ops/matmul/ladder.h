// The ways to multiply that the argument impl of matmul selects, from the plainest up.
#pragma once
#include "core/array.h"
#include "cpu/gemm.h"

namespace tg {

// The index of a way by its name; 0, the list of gemm, for the empty one. Raises for other names.
int way_of(const char* op, const std::string& impl);
const char* way_name(int way);
const char* way_name(GemmWay way);
// Raises unless the way can multiply these operands.
template <class T>
void check_way(const char* op, int way, const Gemm<T>& g);
// As gemm, in one of the ways but the first.
template <class T>
bool multiply(const Gemm<T>& g, int way);

void bind_ladder(py::module_& m);

}  // namespace tg

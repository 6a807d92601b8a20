// Calls that do what an element-wise neighbour does as they go, so that a plan leaves it out.
#pragma once
#include <cstddef>

#include "core/plan.h"
#include "core/view.h"

namespace tg {

// A recorded call in the hands of a fold.
struct Node {
  void (*kernel)();
  char* params;
  size_t bytes;  // of params
  View* views;
  int* buffers;
  int count;  // of views
  Arithmetic arithmetic;

  // Puts what `from` has at `at` into a slot; it lies there as the view `like` does.
  void put(int slot, const View& like, const Node& from, int at) const {
    const View lies = like;
    views[slot] = lies;
    views[slot].data = from.views[at].data;
    buffers[slot] = from.buffers[at];
  }
};

// All views of the neighbour lie as its result does, which has no gaps; and only if a fold returns
// true has it changed anything.

// `next` reads the result of `call` as its view `at`, and nobody else does: `call` makes the result
// of `next` instead, where that stands now.
using FoldNext = bool (*)(const Node& call, const Node& next, int at);
// output: the view that `call` writes.
void register_fold_next(void (*kernel)(), int output, FoldNext fold);
FoldNext fold_next_of(void (*kernel)());  // nullptr: it has none

// `call` reads the result of `before`: it reads what `before` read instead, and where others read
// that result too (shared), it makes that as well.
using FoldBefore = bool (*)(const Node& call, const Node& before, bool shared);
// input: the view of `call` that is the result of `before`.
void register_fold_before(void (*kernel)(), int input, FoldBefore fold);

}  // namespace tg

// The lists of arrays that one step of an optimizer works on, checked.
#pragma once
#include <initializer_list>
#include <vector>

#include "core/array.h"

namespace tg {

struct ListArgument {
  const char* name;
  py::handle arrays;
  bool written = true;
  bool optional = false;  // None: there is no such operand
};

// View t * operands + k is array t of list k. All have the dtype of the first and, array by array,
// the shapes of list 0. No two written arrays share memory, nor do a written and a read one, unless
// they are the same elements of one parameter. The arrays are owned: the lists may change while the
// kernel runs without the GIL.
struct Lists {
  Lists(const char* op, std::initializer_list<ListArgument> arguments);

  std::vector<View> views;
  int operands = 0;
  int64_t count = 0, elements = 0;

 private:
  void check_memory(const char* op) const;
  bool refused(size_t i, size_t j) const;
  std::string name(size_t i) const;

  std::vector<ListArgument> lists_;
  std::vector<py::object> arrays_;
};

}  // namespace tg

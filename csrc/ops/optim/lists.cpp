#include "ops/optim/lists.h"

#include <algorithm>
#include <string>

#include "core/check.h"

namespace tg {
namespace {

std::string item_name(const char* list, int64_t i) {
  return std::string(list) + '[' + std::to_string(i) + ']';
}

// Whether two indices may reach one element, which no slice or transpose of an array lets happen.
bool folds(const View& v) {
  if (v.row_major() || v.size() == 0) return false;
  int order[kMaxDims];
  memory_order(v, order);
  int64_t reach = itemsize(v.dtype);
  for (int i = v.ndim - 1; i >= 0; --i) {
    const int64_t n = v.shape[order[i]], stride = std::abs(v.strides[order[i]]);
    if (n > 1 && stride < reach) return true;
    reach += (n - 1) * stride;
  }
  return false;
}

}  // namespace

Lists::Lists(const char* op, std::initializer_list<ListArgument> arguments) {
  for (const ListArgument& a : arguments) {
    if (a.optional && a.arrays.is_none()) continue;
    check(PyList_Check(a.arrays.ptr()) || PyTuple_Check(a.arrays.ptr()), ErrorKind::dtype, op, ": ",
          a.name, " must be a list of arrays, got ", Py_TYPE(a.arrays.ptr())->tp_name);
    const int64_t n = PySequence_Fast_GET_SIZE(a.arrays.ptr());
    if (lists_.empty()) count = n;
    check(n == count, ErrorKind::value, op, ": ", a.name, " has ", n, " arrays, but ",
          arguments.begin()->name, " has ", count);
    lists_.push_back(a);
  }
  operands = int(lists_.size());
  views.reserve(size_t(count * operands));
  arrays_.reserve(size_t(count * operands));
  for (int64_t t = 0; t < count; ++t) {
    for (const ListArgument& a : lists_) {
      const py::handle h = PySequence_Fast_GET_ITEM(a.arrays.ptr(), t);
      const auto seen = [&](const char* name) {
        return a.written ? writable_view_of(h, op, name) : view_of(h, op, name);
      };
      try {
        views.push_back(seen(a.name));
      } catch (const Error&) {
        seen(item_name(a.name, t).c_str());
        throw;
      }
      arrays_.push_back(py::reinterpret_borrow<py::object>(h));
      const View &v = views.back(), &p = views[size_t(t * operands)], &first = views[0];
      if (v.dtype != first.dtype || !is_float(v.dtype)) {
        check_float(op, v, item_name(a.name, t).c_str());
        check_same_dtype(op, first, item_name(lists_[0].name, 0).c_str(), v,
                         item_name(a.name, t).c_str());
      }
      if (v.ndim != p.ndim || !std::equal(v.shape, v.shape + v.ndim, p.shape))
        fail(ErrorKind::shape, op, ": ", item_name(a.name, t), " has shape ", shape_of(v), ", but ",
             item_name(lists_[0].name, t), " has ", shape_of(p));
      if (a.written && folds(v))
        fail(ErrorKind::value, op, ": ", item_name(a.name, t), " has elements that share memory");
    }
    const bool fits =
        !__builtin_add_overflow(elements, views[size_t(t * operands)].size(), &elements);
    check(fits, ErrorKind::memory, op, ": the elements overflow 2^63");
  }
  check_memory(op);
}

std::string Lists::name(size_t i) const {
  return item_name(lists_[i % size_t(operands)].name, int64_t(i) / operands);
}

// Ranges of addresses in order; only where two meet, exactly.
void Lists::check_memory(const char* op) const {
  struct Range {
    const char *low, *high;
    bool written;
  };
  std::vector<Range> ranges;
  ranges.reserve(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    if (views[i].size() == 0) continue;
    Range r{nullptr, nullptr, lists_[i % size_t(operands)].written};
    memory_range(views[i], &r.low, &r.high);
    ranges.push_back(r);
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.low < b.low; });
  bool meet = false;
  const char *seen = nullptr, *written = nullptr;  // where those before end
  for (const Range& r : ranges) {
    meet |= r.low < (r.written ? seen : written);
    seen = std::max(seen, r.high);
    if (r.written) written = std::max(written, r.high);
  }
  if (!meet) return;
  for (size_t i = 0; i < views.size(); ++i)
    for (size_t j = i + 1; j < views.size(); ++j)
      if (refused(i, j))
        fail(ErrorKind::value, op, ": ", name(i), " and ", name(j), " share memory");
}

bool Lists::refused(size_t i, size_t j) const {
  const View &a = views[i], &b = views[j];
  const bool writes_a = lists_[i % size_t(operands)].written;
  const bool writes_b = lists_[j % size_t(operands)].written;
  if (!(writes_a || writes_b) || !may_overlap(a, b)) return false;
  if (writes_a != writes_b && i / size_t(operands) == j / size_t(operands) && a.data == b.data &&
      std::equal(a.strides, a.strides + a.ndim, b.strides))
    return false;  // every element is read before it is written
  // Interleaved arrays are told apart by NumPy, within bounds; what takes longer counts as shared.
  try {
    return py::module_::import("numpy")
        .attr("shares_memory")(arrays_[i], arrays_[j], py::arg("max_work") = 10000)
        .cast<bool>();
  } catch (py::error_already_set&) {
    return true;
  }
}

}  // namespace tg

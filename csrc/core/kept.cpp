#include "core/kept.h"

#include <algorithm>

#include "core/fp_mode.h"
#include "core/tensor_slots.h"

namespace tg {
namespace {

std::vector<std::pair<void (*)(), void (*)(Keeping&, int)>>& rewrites() {
  static std::vector<std::pair<void (*)(), void (*)(Keeping&, int)>> known;
  return known;
}
std::vector<std::pair<void (*)(), LayerAxes>>& layers() {
  static std::vector<std::pair<void (*)(), LayerAxes>> known;
  return known;
}

}  // namespace

void register_rewrite(void (*kernel)(), void (*rewrite)(Keeping&, int)) {
  rewrites().push_back({kernel, rewrite});
}
void register_layer(void (*kernel)(), LayerAxes axes) { layers().push_back({kernel, axes}); }
LayerAxes layer_axes(void (*kernel)()) {
  for (const auto& layer : layers())
    if (layer.first == kernel) return layer.second;
  return nullptr;
}

bool Version::look(PyObject* tensor, bool* changed) {
  PyObject*& cell = slot(tensor, g_version);
  if (!PyList_Check(cell)) {
    py::list fresh;
    fresh.append(0);
    tg::replace(cell, fresh);
  }
  if (PyList_GET_SIZE(cell) != 1) return false;  // see recording.exported
  const int64_t count = PyLong_AsLongLong(PyList_GET_ITEM(cell, 0));
  if (count == count_ && cell_.ptr() == cell) return true;
  cell_ = py::reinterpret_borrow<py::object>(cell);
  count_ = count;
  *changed = true;
  return true;
}

Operand Keeping::operand(int i, int k) const {
  const size_t at = step(i).views + size_t(k);
  return {views_[at], buffer_of_view_[at], source_of_view_[at]};
}

int Keeping::maker(int i, int k) const {
  const int b = operand(i, k).buffer;
  if (b < 0 || buffers_[size_t(b)].kind != Kind::own || buffers_[size_t(b)].output >= 0) return -1;
  int found = -1, touched = 0;
  for (int j = 0; j < int(steps_.size()); ++j)
    for (int l = 0; l < step(j).count; ++l) {
      if (buffer_of_view_[step(j).views + size_t(l)] != b) continue;
      ++touched;
      if (j < i && l == 0) found = j;
    }
  return touched == 2 ? found : -1;
}

bool Keeping::is_fixed(const Operand& o) {
  return o.buffer >= 0 && (is_kept(o) || (o.source >= 0 && watch(o.source)));
}

Operand Keeping::kept(DType dtype, const View& like) {
  const Output made = empty_like("capture", dtype, like);
  Buffer b;
  b.kind = Kind::kept;
  b.base = made.view.data;
  b.bytes = made.view.size() * itemsize(dtype);
  b.label = 0;
  buffers_.push_back(std::move(b));
  return {made.view, int(buffers_.size()) - 1, -1};
}

bool Keeping::fold_next(int i, const Node& function) {
  const FoldNext fold = fold_next_of(step(i).kernel);
  return fold != nullptr && fold(node(step(i)), function, 1);
}

void Keeping::set_name(int i, const std::string& name) {
  Step& s = steps_[size_t(i)];
  labels_.push_back({name, labels_[size_t(s.label)].second});
  s.label = int(labels_.size()) - 1;
}

void Keeping::set_operands(Step* s, const std::vector<Operand>& operands) {
  for (int k = 0; k < s->count; ++k) buffer_of_view_[s->views + size_t(k)] = -1;
  s->views = views_.size();
  s->count = int(operands.size());
  for (const Operand& o : operands) {
    views_.push_back(o.view);
    buffer_of_view_.push_back(o.buffer);
    source_of_view_.push_back(o.source);
    if (o.source >= 0) follow(o.source, views_.size() - 1);
  }
}

void Keeping::rewrite() {
  first_kept_ = int(buffers_.size());
  for (int i = int(steps_.size()) - 1; i >= 0; --i)
    for (const auto& [kernel, change] : rewrites())
      if (step(i).kernel == kernel) {
        change(*this, i);
        break;
      }
  const auto dropped = [](const Step& s) { return s.call == nullptr; };
  steps_.erase(std::remove_if(steps_.begin(), steps_.end(), dropped), steps_.end());
  find_lifetimes();
  stale_ = !kept_.empty();
}

void Keeping::forget() {
  for (Buffer& b : buffers_)
    if (b.kind == Kind::kept) b.owner = py::object();
  stale_ = !kept_.empty();
}

void Keeping::make_kept() {
  std::map<int, py::object> passing;  // what only other kept arrays are made of
  for (size_t i = 0; i < views_.size(); ++i) {
    const int at = buffer_of_view_[i];
    if (at < first_kept_) continue;
    Buffer& b = buffers_[size_t(at)];
    py::object& owner = b.first >= 0 ? b.owner : passing[at];
    if (!owner) {
      const Output made = empty("capture", DType::u8, 1, &b.bytes);
      owner = made.array;
      b.base = made.view.data;
    }
    views_[i].data = b.base;
  }
  py::gil_scoped_release unlocked;
  const FlushDenormals flush(true);
  for (const Step& s : kept_) s.call(s.kernel, params_.data() + s.params, views_.data() + s.views);
  stale_ = false;
}

int64_t Keeping::kept_bytes() const {
  int64_t bytes = 0;
  for (const Buffer& b : buffers_)
    if (b.kind == Kind::kept && b.first >= 0) bytes += b.bytes;
  return bytes;
}

}  // namespace tg

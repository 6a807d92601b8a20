// What a plan for inference makes of weights alone: once, and again when one of them has changed.
#pragma once
#include <type_traits>
#include <vector>

#include "core/recording.h"

namespace tg {

class Keeping;

// Called for every recorded call of kernel, the last call first, to change it and those before it.
void register_rewrite(void (*kernel)(), void (*rewrite)(Keeping& plan, int step));

// A kernel linear in its weight, view 2, that adds its bias, view 3, where that has data, to view
// 0: along which axes the outputs lie in the result and in the weight; false: not as it was called.
using LayerAxes = bool (*)(const void* params, const View* views, int* result, int* weight);
void register_layer(void (*kernel)(), LayerAxes axes);
LayerAxes layer_axes(void (*kernel)());  // nullptr: it is none

// How often the memory of a tensor was changed: its version, as when this was looked at last.
class Version {
 public:
  // False: memory that others may change without being seen. changed: set where it is another.
  bool look(PyObject* tensor, bool* changed);

 private:
  py::object cell_;
  int64_t count_ = -1;
};

// A view, and what it belongs to.
struct Operand {
  View view;
  int buffer = -1, source = -1;
};

class Keeping : public Recording {
 public:
  // --- for rewrites ---
  const Step& step(int i) const { return steps_[size_t(i)]; }
  const View* views(int i) const { return views_.data() + step(i).views; }
  const void* params(int i) const { return params_.data() + step(i).params; }
  Operand operand(int i, int k) const;
  // The call that makes what call i reads at k, where no other call touches it; else -1.
  int maker(int i, int k) const;
  // Whether an operand is a tensor from outside of which changes are noticed, or kept.
  bool is_fixed(const Operand& o);
  bool is_kept(const Operand& o) const { return o.buffer >= 0 && o.buffer >= first_kept_; }
  // An array that is kept, in the memory order of like; its memory comes with make_kept().
  Operand kept(DType dtype, const View& like);

  // Makes call i another one.
  template <class Params>
  void change(int i, void (*fn)(const Params&, const View*), Params params,
              const std::vector<Operand>& operands) {
    set(&steps_[size_t(i)], fn, params, operands);
  }
  void change_operands(int i, const std::vector<Operand>& operands) {
    set_operands(&steps_[size_t(i)], operands);
  }
  void drop(int i) { steps_[size_t(i)].call = nullptr; }
  // For explain().
  const std::string& name(int i) const { return labels_[size_t(step(i).label)].first; }
  void set_name(int i, const std::string& name);
  void set_algorithm(int i, const char* name) { steps_[size_t(i)].algorithm = name; }
  // Whether call i now puts its result through an element-wise function as well.
  bool fold_next(int i, const Node& function);
  // A call that fills kept arrays, after those so far.
  template <class Params>
  void keep(void (*fn)(const Params&, const View*), Params params,
            const std::vector<Operand>& operands) {
    kept_.push_back(Step{});
    set(&kept_.back(), fn, params, operands);
  }

  int64_t kept_bytes() const;
  void forget();  // gives the memory back until the next run

 protected:
  void rewrite();
  void make_kept();
  // Whether the plan notices changes of this source; from now on it does.
  virtual bool watch(int source) = 0;
  // A view on a source, to be moved with it.
  virtual void follow(int source, size_t view) = 0;

  std::vector<int> source_of_view_;  // -1: of none
  bool stale_ = false;               // what is kept is to be made again

 private:
  template <class Params>
  void set(Step* s, void (*fn)(const Params&, const View*), const Params& params,
           const std::vector<Operand>& operands) {
    static_assert(std::is_trivially_copyable<Params>::value, "params are copied into plans");
    s->call = call_of<Params>();
    s->kernel = reinterpret_cast<void (*)()>(fn);
    s->bytes = sizeof(Params);
    s->params = add_params(&params, sizeof(Params));
    set_operands(s, operands);
  }
  void set_operands(Step* s, const std::vector<Operand>& operands);

  std::vector<Step> kept_;
  int first_kept_ = 0;
};

}  // namespace tg

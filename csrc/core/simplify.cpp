// What a plan leaves out: calls whose results nobody reads, and those that a neighbour does as it
// goes.
#include <algorithm>

#include "core/chains.h"
#include "core/folds.h"
#include "core/recording.h"

namespace tg {
namespace {

struct Next {
  void (*kernel)();
  int output;
  FoldNext fold;
};
struct Before {
  void (*kernel)();
  int input;
  FoldBefore fold;
};
std::vector<Next>& nexts() {
  static std::vector<Next> all;
  return all;
}
std::vector<Before>& befores() {
  static std::vector<Before> all;
  return all;
}
template <class Row>
const Row* row_of(const std::vector<Row>& rows, const Step& s) {
  for (const Row& r : rows)
    if (s.call != nullptr && r.kernel == s.kernel) return &r;
  return nullptr;
}

// Whether all views of an element-wise call lie as its result does, which has no gaps.
bool lie_alike(const Node& n) {
  if (!without_gaps(n.views[0])) return false;
  for (int k = 1; k < n.count; ++k)
    if (n.views[k].dtype != n.views[0].dtype || !lies_as(n.views[0], n.views[k])) return false;
  return true;
}

// The calls that touch each buffer, in order.
using Touches = std::vector<std::vector<int>>;

void move_touch(Touches* touches, const int* buffers, int count, int from, int to) {
  for (int k = 0; k < count; ++k) {
    if (buffers[k] < 0) continue;
    std::vector<int>& t = (*touches)[size_t(buffers[k])];
    t.erase(std::remove(t.begin(), t.end(), from), t.end());
    const auto at = std::lower_bound(t.begin(), t.end(), to);
    if (at == t.end() || *at != to) t.insert(at, to);
  }
}

}  // namespace

void register_fold_next(void (*kernel)(), int output, FoldNext fold) {
  nexts().push_back({kernel, output, fold});
}
FoldNext fold_next_of(void (*kernel)()) {
  for (const Next& row : nexts())
    if (row.kernel == kernel) return row.fold;
  return nullptr;
}
void register_fold_before(void (*kernel)(), int input, FoldBefore fold) {
  befores().push_back({kernel, input, fold});
}

void Recording::simplify(const std::vector<int64_t>& cuts) {
  drop_unread();
  fold(cuts);
  compact();
}

void Recording::drop_unread() {
  std::vector<char> read(buffers_.size());
  for (size_t b = 0; b < buffers_.size(); ++b)
    read[b] = buffers_[b].kind != Kind::own || buffers_[b].output >= 0;
  for (auto s = steps_.rbegin(); s != steps_.rend(); ++s) {
    bool needed = s->checks, writes = false;
    for (size_t at = s->views; at < s->views + size_t(s->count); ++at) {
      if (!written_[at]) continue;
      writes = true;
      needed = needed || read[size_t(buffer_of_view_[at])];
    }
    if (writes && !needed) {
      s->call = nullptr;
      ++dropped_;
      continue;
    }
    for (size_t at = s->views; at < s->views + size_t(s->count); ++at)
      if (buffer_of_view_[at] >= 0) read[size_t(buffer_of_view_[at])] = true;
  }
}

Node Recording::node(const Step& s) {
  return {s.kernel,
          reinterpret_cast<char*>(params_.data() + s.params),
          s.bytes,
          views_.data() + s.views,
          buffer_of_view_.data() + s.views,
          s.count,
          s.arithmetic};
}

void Recording::fold(const std::vector<int64_t>& cuts) {
  Touches touches(buffers_.size());
  for (int i = 0; i < int(steps_.size()); ++i) {
    const Step& s = steps_[size_t(i)];
    if (s.call != nullptr) move_touch(&touches, &buffer_of_view_[s.views], s.count, i, i);
  }
  // Whether two views may share memory; arrays from outside may overlap under several names.
  const auto meet = [&](size_t a, size_t b) {
    const int x = buffer_of_view_[a], y = buffer_of_view_[b];
    if (x < 0 || y < 0 || x == y) return x == y;
    return buffers_[size_t(x)].kind != Kind::own && buffers_[size_t(y)].kind != Kind::own &&
           may_overlap(views_[a], views_[b]);
  };
  // Whether what call i reads is the same at j.
  const auto unchanged = [&](int i, int j) {
    for (const int64_t c : cuts)
      if (i < c && c <= j) return false;
    const Step& s = steps_[size_t(i)];
    for (int m = i + 1; m < j; ++m) {
      const Step& t = steps_[size_t(m)];
      if (t.call == nullptr) continue;
      for (size_t a = t.views; a < t.views + size_t(t.count); ++a)
        for (size_t b = s.views; b < s.views + size_t(s.count); ++b)
          if (written_[a] && meet(a, b)) return false;
    }
    return true;
  };
  // Whether view k is all of a fresh buffer that call i makes.
  const auto makes = [&](int i, const View& v, int b) {
    const Buffer& x = buffers_[size_t(b)];
    return x.kind == Kind::own && touches[size_t(b)].front() == i && v.data == x.base &&
           without_gaps(v) && v.size() * itemsize(v.dtype) == x.bytes;
  };
  const auto label_of = [&](const Step& a, const Step& b, const Step& place) {
    const auto &x = labels_[size_t(a.label)].first, &y = labels_[size_t(b.label)].first;
    labels_.push_back({x + "+" + y, labels_[size_t(place.label)].second});
    return int(labels_.size()) - 1;
  };
  // Whether nobody sees before call j what else call i writes.
  const auto alone = [&](int i, int output) {
    const Step& s = steps_[size_t(i)];
    for (int k = 0; k < s.count; ++k) {
      const int b = buffer_of_view_[s.views + size_t(k)];
      if (k != output && b >= 0 && written_[s.views + size_t(k)] && touches[size_t(b)].back() != i)
        return false;
    }
    return true;
  };
  const auto next = [&](int j, int k) {
    const Step then = steps_[size_t(j)];
    const Node b = node(then);
    const int made = b.buffers[k];
    if (made < 0 || buffers_[size_t(made)].output >= 0 || touches[size_t(made)].size() != 2 ||
        std::count(b.buffers, b.buffers + b.count, made) != 1)
      return false;
    const int i = touches[size_t(made)].front();
    Step& first = steps_[size_t(i)];
    const Next* row = row_of(nexts(), first);
    if (row == nullptr) return false;
    const Node a = node(first);
    const int to = b.buffers[0];
    if (a.buffers[row->output] != made || !makes(i, b.views[k], made) || to < 0 ||
        !makes(j, b.views[0], to) || a.views[row->output].dtype != b.views[0].dtype ||
        std::count(a.buffers, a.buffers + a.count, made) != 1 || !alone(i, row->output) ||
        !unchanged(i, j) || !row->fold(a, b, k))
      return false;
    for (int l = 0; l < b.count; ++l)
      if (b.buffers[l] >= 0) {
        std::vector<int>& t = touches[size_t(b.buffers[l])];
        t.erase(std::remove(t.begin(), t.end(), j), t.end());
      }
    touches[size_t(made)].clear();
    move_touch(&touches, a.buffers, a.count, i, j);
    Step& both = steps_[size_t(j)];
    both = first;
    both.work += then.work;
    both.label = label_of(first, then, first);
    first.call = nullptr;
    ++folded_;
    return true;
  };
  const auto before = [&](int j, const Before& row) {
    Step& call = steps_[size_t(j)];
    const Node a = node(call);
    const int made = a.buffers[row.input];
    if (made < 0 || touches[size_t(made)].size() < 2 ||
        std::count(a.buffers, a.buffers + a.count, made) != 1)
      return;
    const int i = touches[size_t(made)][0];
    Step& first = steps_[size_t(i)];
    if (touches[size_t(made)][1] != j || !is_elementwise(first.kernel)) return;
    const Node b = node(first);
    const bool shared = buffers_[size_t(made)].output >= 0 || touches[size_t(made)].size() > 2;
    if (b.buffers[0] != made || !makes(i, a.views[row.input], made) || !lie_alike(b) ||
        !unchanged(i, j) || !row.fold(a, b, shared))
      return;
    if (!shared) touches[size_t(made)].clear();
    for (int l = 0; l < b.count; ++l)
      if (b.buffers[l] >= 0) {
        std::vector<int>& t = touches[size_t(b.buffers[l])];
        t.erase(std::remove(t.begin(), t.end(), i), t.end());
      }
    move_touch(&touches, a.buffers, a.count, j, j);
    call.work += first.work;
    call.label = label_of(first, call, call);
    first.call = nullptr;
    ++folded_;
  };
  for (int j = 0; j < int(steps_.size()); ++j) {
    const Step& s = steps_[size_t(j)];
    if (s.call == nullptr) continue;
    if (is_elementwise(s.kernel) && lie_alike(node(s))) {
      for (int k = 1; k < s.count; ++k)
        if (next(j, k)) break;
    } else if (const Before* row = row_of(befores(), s)) {
      before(j, *row);
    }
  }
}

void Recording::compact() {
  std::vector<Step> steps;
  std::vector<View> views;
  std::vector<int> buffers;
  std::vector<char> written;
  for (Buffer& b : buffers_) b.first = b.last = -1;
  for (Step s : steps_) {
    moved_.push_back(int(steps.size()));
    if (s.call == nullptr) continue;
    const size_t from = s.views;
    s.views = views.size();
    for (size_t at = from; at < from + size_t(s.count); ++at) {
      views.push_back(views_[at]);
      buffers.push_back(buffer_of_view_[at]);
      written.push_back(written_[at]);
      if (buffer_of_view_[at] < 0) continue;
      Buffer& b = buffers_[size_t(buffer_of_view_[at])];
      if (b.first < 0) b.first = int(steps.size());
      b.last = int(steps.size());
    }
    steps.push_back(s);
  }
  moved_.push_back(int(steps.size()));
  steps_ = std::move(steps);
  views_ = std::move(views);
  buffer_of_view_ = std::move(buffers);
  written_ = std::move(written);
}

}  // namespace tg

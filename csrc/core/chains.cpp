#include "core/chains.h"

#include <algorithm>
#include <atomic>

#include "core/parallel.h"
#include "core/parts.h"
#include "core/pool.h"

namespace tg {
namespace {

constexpr int64_t kBlock = 1 << 12, kGrain = 8;
constexpr int kMostViews = 64;

std::vector<void (*)()>& kernels_known() {
  static std::vector<void (*)()> known;
  return known;
}

bool all_zero(const View& v) {
  for (int i = 0; i < v.ndim; ++i)
    if (v.shape[i] != 1 && v.strides[i] != 0) return false;
  return true;
}

bool fits(const Step& s, const View* v) {
  if (!is_elementwise(s.kernel)) return false;
  if (v[0].size() < kSmallestChain || !without_gaps(v[0])) return false;
  for (int k = 0; k < s.count; ++k)  // integers divide by zero, and threads must not throw
    if (!is_float(v[k].dtype) && v[k].dtype != DType::b1) return false;
  for (int k = 1; k < s.count; ++k)
    if (!all_zero(v[k]) && !lies_as(v[0], v[k])) return false;
  return true;
}

}  // namespace

void register_elementwise(void (*kernel)()) { kernels_known().push_back(kernel); }

bool is_elementwise(void (*kernel)()) {
  const auto& known = kernels_known();
  return std::find(known.begin(), known.end(), kernel) != known.end();
}

bool without_gaps(const View& v) {
  int order[kMaxDims];
  memory_order(v, order);
  int64_t expected = itemsize(v.dtype);
  for (int i = v.ndim - 1; i >= 0; --i) {
    if (v.shape[order[i]] == 1) continue;
    if (v.strides[order[i]] != expected) return false;
    expected *= v.shape[order[i]];
  }
  return true;
}

bool lies_as(const View& a, const View& b) {
  if (a.ndim != b.ndim) return false;
  for (int i = 0; i < a.ndim; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
    if (a.shape[i] != 1 && a.strides[i] * itemsize(b.dtype) != b.strides[i] * itemsize(a.dtype))
      return false;
  }
  return true;
}

std::vector<Chain> find_chains(const std::vector<Step>& steps, const std::vector<View>& views,
                               const std::vector<int>& buffer_of_view,
                               const std::vector<int64_t>& cuts, std::vector<Buffer>* buffers) {
  std::vector<Chain> chains;
  Chain now{0, -1, 0, 0};
  int count = 0;
  const auto end = [&] {
    if (now.last > now.first) {
      const size_t begin = steps[size_t(now.first)].views;
      const Step& last = steps[size_t(now.last)];
      // Whether a view begins where its buffer does and runs through all of it.
      const auto whole = [&](size_t i, const Buffer& b) {
        return views[i].data == b.base && without_gaps(views[i]) && views[i].size() == now.size;
      };
      for (size_t i = begin; i < last.views + size_t(last.count); ++i) {
        if (buffer_of_view[i] < 0) continue;
        Buffer& b = (*buffers)[size_t(buffer_of_view[i])];
        if (b.block >= 0) continue;
        bool inner =
            b.kind == Kind::own && b.output < 0 && b.first >= now.first && b.last <= now.last;
        for (size_t j = begin; j < last.views + size_t(last.count) && inner; ++j)
          inner = buffer_of_view[j] != buffer_of_view[i] || whole(j, b);
        if (inner) {
          b.block = now.blocks++;
          continue;
        }
        b.first = std::min(b.first, now.first);
        b.last = std::max(b.last, now.last);
      }
      chains.push_back(now);
    }
    now = {0, -1, 0, 0};
    count = 0;
  };
  // Whether a call meets what the chain has written, or writes what it reads, element by element.
  const auto in_step = [&](const Step& s) {
    for (int k = 0; k < s.count; ++k)
      for (int j = now.first; j <= now.last; ++j)
        for (int l = 0; l < steps[size_t(j)].count; ++l) {
          const size_t a = s.views + size_t(k), b = steps[size_t(j)].views + size_t(l);
          if ((k > 0 && l > 0) || buffer_of_view[a] != buffer_of_view[b]) continue;
          if (views[a].data != views[b].data || all_zero(views[a]) || all_zero(views[b]))
            return false;
        }
    return true;
  };
  for (int i = 0; i < int(steps.size()); ++i) {
    const Step& s = steps[size_t(i)];
    const View* v = views.data() + s.views;
    const int to = buffer_of_view[s.views];
    const bool fresh = to >= 0 && (*buffers)[size_t(to)].kind == Kind::own;
    if (std::find(cuts.begin(), cuts.end(), i) != cuts.end()) end();
    if (!fresh || !fits(s, v)) {
      end();
      continue;
    }
    const bool joins = now.last >= now.first && now.size == v[0].size() &&
                       lies_as(views[steps[size_t(now.first)].views], v[0]) &&
                       count + s.count <= kMostViews && in_step(s);
    if (!joins) {
      end();
      now = {i, i, v[0].size(), 0};
    }
    now.last = i;
    count += s.count;
  }
  end();
  return chains;
}

bool run_chain(const Chain& chain, const std::vector<Step>& steps, const std::vector<View>& views,
               const std::vector<int>& buffer_of_view, const std::vector<Buffer>& buffers,
               const char* params, size_t unit, FpMode plain) {
  const FpMode flushing = plain.flushing();
  std::atomic<bool> ok{true};
  parallel_for(ceil_div(chain.size, kBlock), kGrain, [&](int64_t begin, int64_t end) {
    constexpr int64_t kBytes = kBlock * 8;
    char* const memory = static_cast<char*>(pool_allocate(size_t(chain.blocks * kBytes)));
    if (memory == nullptr) return ok.store(false);
    const FpMode before = FpMode::current();
    Arithmetic mode = Arithmetic::exact;
    plain.apply();
    View part[kMostViews];
    for (int64_t b = begin; b < end; ++b) {
      const int64_t from = b * kBlock, n = std::min(kBlock, chain.size - from);
      for (int i = chain.first; i <= chain.last; ++i) {
        const Step& s = steps[size_t(i)];
        for (int k = 0; k < s.count; ++k) {
          const size_t at = s.views + size_t(k);
          const View& v = views[at];
          const int block = buffer_of_view[at] < 0 ? -1 : buffers[size_t(buffer_of_view[at])].block;
          const int64_t step = all_zero(v) ? 0 : itemsize(v.dtype);
          part[k].data = block >= 0 ? memory + block * kBytes : v.data + from * step;
          part[k].dtype = v.dtype;
          part[k].ndim = 1;
          part[k].shape[0] = n;
          part[k].strides[0] = step;
        }
        if (s.arithmetic != mode) {
          mode = s.arithmetic;
          (mode == Arithmetic::floating ? flushing : plain).apply();
        }
        s.call(s.kernel, params + s.params * unit, part);
      }
    }
    before.apply();
    pool_free(memory);
  });
  return ok;
}

}  // namespace tg

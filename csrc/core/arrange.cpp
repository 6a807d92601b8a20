// Where the buffers of a plan lie in its memory.
#include <algorithm>

#include "core/recording.h"

namespace tg {
namespace {

constexpr int64_t kAlign = 64;

int64_t rounded(const Buffer& b) { return (b.bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

int64_t Recording::arrange() {
  int64_t bytes = 0;
  std::vector<int> order;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Buffer& b = buffers_[i];
    if (b.kind == Kind::own && b.output < 0 && b.block < 0 && b.first >= 0) order.push_back(int(i));
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return buffers_[size_t(a)].bytes > buffers_[size_t(b)].bytes;
  });
  std::vector<int> placed;
  for (int i : order) {
    Buffer& b = buffers_[size_t(i)];
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (int j : placed) {
      const Buffer& o = buffers_[size_t(j)];
      if (o.first <= b.last && b.first <= o.last) taken.push_back({o.at, o.at + rounded(o)});
    }
    std::sort(taken.begin(), taken.end());
    int64_t at = 0;
    for (const auto& t : taken) {
      if (at + rounded(b) <= t.first) break;
      at = std::max(at, t.second);
    }
    b.at = at;
    bytes = std::max(bytes, at + rounded(b));
    placed.push_back(i);
  }
  return bytes;
}

}  // namespace tg

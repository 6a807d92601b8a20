// Chains of element-wise calls on large arrays, run block by block: what one call writes the next
// one reads from the cache.
#pragma once
#include <vector>

#include "core/fp_mode.h"
#include "core/recording.h"

namespace tg {

constexpr int64_t kSmallestChain = 1 << 16;  // elements: smaller arrays stay in the caches anyway

struct Chain {
  int first, last;  // calls
  int64_t size;     // elements
  int blocks;       // of memory that one block of elements needs
};

// Says that element i of this kernel's first view depends on the elements i of its others alone,
// and that it runs on any row-major part of its views.
void register_elementwise(void (*kernel)());
bool is_elementwise(void (*kernel)());

// Whether v has no gaps and no element twice.
bool without_gaps(const View& v);
// Whether element i of one lies where element i of the other does, counted in elements.
bool lies_as(const View& a, const View& b);

// The chains of at least two calls, which no call of cuts begins in the middle of. A buffer that
// only a chain touches becomes a block of a thread's memory; others live as long as the chain,
// whose blocks come back to them.
std::vector<Chain> find_chains(const std::vector<Step>& steps, const std::vector<View>& views,
                               const std::vector<int>& buffer_of_view,
                               const std::vector<int64_t>& cuts, std::vector<Buffer>* buffers);

// params: of all calls, in units. plain: what does not flush denormals. False when there is no
// memory for the blocks.
bool run_chain(const Chain& chain, const std::vector<Step>& steps, const std::vector<View>& views,
               const std::vector<int>& buffer_of_view, const std::vector<Buffer>& buffers,
               const char* params, size_t unit, FpMode plain);

}  // namespace tg

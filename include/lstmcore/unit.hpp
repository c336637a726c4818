// One layer in one direction over a batch of sequences, seen from outside: what a stack is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lstmcore/noise.hpp"
#include "lstmcore/weights.hpp"

namespace lstmcore {

// Sequences sorted by length, longest first: at step t the first size[t] of them are active, and the row of (t, b)
// is offset[t] + b. A batch costs the sum of its lengths; without padding there is nothing to mask.
struct Steps {
  Index T = 0, B = 0, N = 0;
  std::vector<Index> size, offset;

  void assign(const std::int64_t* batch_sizes, Index steps) {
    T = steps;
    B = steps > 0 ? static_cast<Index>(batch_sizes[0]) : 0;
    N = 0;
    size.resize(static_cast<std::size_t>(T));
    offset.resize(static_cast<std::size_t>(T));
    for (Index t = 0; t < T; ++t) {
      size[t] = static_cast<Index>(batch_sizes[t]);
      offset[t] = N;
      N += size[t];
    }
  }
};

// The caller's arrays. All rows of x, y and their gradients are packed as in Steps.
template <class S>
struct ForwardArrays {
  const S* x;        // [N, input_size]
  const S *h0, *c0;  // [B, width], nullptr: zeros
  S* y;              // [N, ldy], nullptr: not wanted
  Index ldy;
  S *hn, *cn;  // [B, width], nullptr: not wanted
  // Of a linked cell (cells/cell.hpp): what the layer below hands up, and what this one does, in rows of
  // [N, padded<S>(hidden_size)]. They may be one array if nothing is kept, and must stay until backward otherwise.
  const S* lower = nullptr;
  S* upper = nullptr;
};

template <class S>
struct BackwardArrays {
  const S* x;   // as in forward
  const S* dy;  // [N, lddy], nullptr: zeros
  Index lddy;
  const S *dhn, *dcn;  // [B, width], nullptr: zeros
  S* dx;               // [N, input_size], nullptr: not wanted
  S *dh0, *dc0;        // [B, width], nullptr: not wanted
  S* dlink = nullptr;  // of a linked cell: ∂/∂upper, and in its place ∂/∂lower
};

// What forward remembers for backward: nothing, gates and states, or states alone, from which backward computes the
// gates again. The results of all three have the same bits, and so have the gradients of the last two.
enum class Keep { Nothing, All, States };

// One quantity of a cell at every step: an activation of a gate, or a state after the step.
template <class S>
struct Trace {
  std::string name;
  Index width;
  std::vector<S> values;  // [N, width], packed as in Steps
};

template <class S>
class Unit {
 public:
  virtual ~Unit() = default;
  virtual std::vector<Parameter> parameters() const = 0;
  virtual Index parameter_count() const = 0;
  // Floating-point operations of a pass forward over so many rows.
  virtual double flops(Index rows) const = 0;
  virtual void pack(const S* parameters) = 0;
  // io.x of a kept pass must stay as it is until backward.
  virtual void forward(const Steps& steps, const ForwardArrays<S>& io, bool reverse, Keep keep, const Noise& noise) = 0;
  // Adds the gradients of the parameters to `gradients`. Uses up what forward kept.
  virtual void backward(const Steps& steps, const BackwardArrays<S>& io, bool reverse, const S* parameters,
                        S* gradients) = 0;
  // What the last forward computed at each step, if it was with Keep::All: the gates, c, h.
  virtual std::vector<Trace<S>> traces(const Steps& steps, bool reverse) = 0;
};

}  // namespace lstmcore

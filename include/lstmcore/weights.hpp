// The parameters of one cell in one direction: their names and places in a flat vector, in torch.nn's order, and the
// packed copies that the kernel reads.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "lstmcore/buffer.hpp"
#include "lstmcore/layer_norm.hpp"
#include "lstmcore/panel.hpp"
#include "lstmcore/parallel.hpp"

namespace lstmcore {

struct UnitShape {
  Index input_size, hidden_size, proj_size;  // proj_size 0: h is not projected
  bool bias;
  bool bf16 = false;                       // weights are stored as BFloat16 for passes that keep nothing
  bool above = false;                      // a linked cell has a layer below it
  std::vector<Index> periods{};            // of a clockwork cell; empty: the default
  std::optional<std::string> peepholes{};  // letters of the gates that have one; nothing: the cell's default
  std::vector<double> activations{};       // of a general cell (cells/general.hpp); empty: the cell's own
};

struct Parameter {
  std::string name;
  std::vector<Index> shape;
  Index offset;  // in scalars from the start of the flat vector
};

struct GateName {
  const char* name;
  int stage, gate;
};

// What a cell's header says in constants (cells/cell.hpp).
struct CellTraits {
  struct Layout {
    int count, x_count, h_begin, h_count;
  };
  int stages, blocks, vectors, state_parts;
  int normalised;     // gates that layer normalisation sees
  const Norm* norms;  // of a normalised cell
  int norm_count;
  bool has_c, keeps_h, projected, peepholes_by_default;
  bool linked, stores_y;
  Layout layout[2];
  int (*x_block)(int stage, int gate);
  int (*h_block)(int stage, int gate);
  const char* (*vector_name)(int j);
  std::vector<GateName> (*gate_names)();
};

// A stage of a cell and its sizes.
struct StagePlan {
  int gates, x_count, h_begin, h_count;
  Index units;                 // width of what it computes
  Index recurrent_size;        // width of the operand s of U s
  Index weight_ih, weight_hh;  // places of W and U in the flat vector
  Index x_row[8], h_row[8];    // row of W and U at which the block of each gate starts
  bool bias;
};

// Everything that follows from a cell and its sizes.
struct UnitPlan {
  UnitShape shape;
  Index state_size;  // width of the state h
  int stages;
  StagePlan stage[2];
  Index bias_ih, bias_hh;            // places in the flat vector
  std::vector<Index> vector_places;  // -1: absent, all zeros
  Index count;                       // number of parameters
  std::vector<Parameter> parameters;
};

// Whether mid is seen by U, and not by a projection.
inline bool sees_mid(const CellTraits& cell) { return cell.stages == 2 && !cell.projected; }

// Blocks of H rows of U: fewer than those of W where a gate sees x alone.
inline int recurrent_blocks(const CellTraits& cell) {
  return cell.layout[0].h_count + (sees_mid(cell) ? cell.layout[1].h_count : 0);
}

// The letter of the gate whose peephole is vector j of a cell, the last one of its name weight_c…; 0: it is none that
// can be left out.
inline char peephole_of(const CellTraits& cell, int j) {
  if (cell.linked) return '\0';
  const char* name = cell.vector_name(j);
  return std::strncmp(name, "weight_c", 8) == 0 && std::strchr("ifo", name[8]) != nullptr ? name[8] : '\0';
}

// Letters of all gates of a cell that can have a peephole.
inline std::string peepholes_of(const CellTraits& cell) {
  std::string letters;
  for (int j = 0; j < cell.vectors; ++j) {
    if (peephole_of(cell, j) != '\0') letters += peephole_of(cell, j);
  }
  return letters;
}

inline UnitPlan make_plan(const CellTraits& cell, const UnitShape& shape) {
  const Index I = shape.input_size, H = shape.hidden_size, P = cell.projected ? shape.proj_size : cell.state_parts * H;
  const Index rows = cell.blocks * H, recurrent_rows = recurrent_blocks(cell) * H;
  UnitPlan plan{shape, P, cell.stages, {}, 0, 0, {}, 0, {}};
  const auto add = [&](const std::string& name, std::vector<Index> sizes) {
    const Index offset = plan.count;
    plan.parameters.push_back({name, sizes, offset});
    plan.count += sizes.size() == 2 ? sizes[0] * sizes[1] : sizes[0];
    return offset;
  };
  const bool has_u = recurrent_rows > 0;  // else U is among the vectors
  const Index weight_ih = add("weight_ih", {rows, I}), weight_hh = has_u ? add("weight_hh", {recurrent_rows, P}) : 0;
  const bool bias = shape.bias && cell.normalised == 0;  // else biases are among the vectors
  if (bias) {
    plan.bias_ih = add("bias_ih", {rows});
    if (has_u) plan.bias_hh = add("bias_hh", {recurrent_rows});
  }
  const Index weight_hr = cell.projected ? add("weight_hr", {P, H}) : 0;
  for (int j = 0, blocks = 1; j < cell.vectors; j += blocks, blocks = 1) {
    const std::string name = cell.vector_name(j);
    while (j + blocks < cell.vectors && name == cell.vector_name(j + blocks)) ++blocks;
    const char letter = peephole_of(cell, j);
    const bool present = letter == '\0'    ? shape.bias || name.rfind("bias", 0) != 0
                         : shape.peepholes ? shape.peepholes->find(letter) != std::string::npos
                                           : cell.peepholes_by_default;
    const Index place = present ? add(name, {blocks * H}) : -1;
    for (int block = 0; block < blocks; ++block) plan.vector_places.push_back(present ? place + block * H : -1);
  }
  for (int s = 0; s < cell.stages; ++s) {
    const CellTraits::Layout& layout = cell.layout[s];
    const bool projection = cell.projected && s == 1;
    StagePlan& out = plan.stage[s];
    out = {layout.count,
           layout.x_count,
           layout.h_begin,
           layout.h_count,
           projection ? P : H,
           s == 0 ? P : H,
           weight_ih,
           projection ? weight_hr : weight_hh,
           {},
           {},
           bias && !projection};
    for (int g = 0; g < layout.x_count; ++g) out.x_row[g] = cell.x_block(s, g) * H;
    for (int g = 0; g < layout.h_count; ++g) out.h_row[g] = projection ? 0 : cell.h_block(s, g) * H;
  }
  return plan;
}

// Panels over the columns of weights [.., columns], for products with its transpose: the summed index is (panel of
// units, gate, lane), as gates lie in memory. Gate g of unit u is row block_row[g] + u.
template <class S>
void pack_transposed(const S* weights, Index columns, Index units, const Index* block_row, int gates,
                     Buffer<S>& buffer) {
  constexpr int V = Vec<S>::width;
  const Index panels = ceil_div(units, V), out_panels = ceil_div(columns, V), stride = panels * gates * V * V;
  S* to = buffer.reserve(out_panels * stride);
  parallel_for(out_panels, 8.0 * out_panels * stride, [&](Index begin, Index end) {
    for (Index out = begin; out < end; ++out) {
      const Index valid = std::min<Index>(V, columns - out * V);
      S* lanes = to + out * stride;
      for (Index p = 0; p < panels; ++p) {
        for (int g = 0; g < gates; ++g) {
          for (Index unit = p * V; unit < (p + 1) * V; ++unit, lanes += V) {
            const S* from = weights + (block_row[g] + unit) * columns + out * V;
            if (unit < units && valid == V) {
              Vec<S>::loadu(from).store(lanes);
            } else {
              for (Index v = 0; v < V; ++v) lanes[v] = unit < units && v < valid ? from[v] : S(0);
            }
          }
        }
      }
    }
  });
}

// Panels for the forward pass, and panels of the transposed weights for the backward pass.
template <class S>
class PackedWeights {
  static constexpr int V = Vec<S>::width;

 public:
  explicit PackedWeights(const UnitPlan& plan) : plan_(plan) {}

  // Forward panels of a stage: the x part [input][x_count][V], then the h part [recurrent][h_count][V].
  // Weight is S, or BFloat16 where the shape asks for it.
  template <class Weight>
  const Weight* panels(int stage) const {
    if constexpr (std::is_same_v<Weight, S>) {
      return forward_[stage].data();
    } else {
      return half_[stage].data();
    }
  }
  template <class Weight>
  Index x_part(int stage) const {  // scalars of a panel's x part
    return stored_steps<Weight>(plan_.shape.input_size) * plan_.stage[stage].x_count * V;
  }
  template <class Weight>
  Index panel_stride(int stage) const {
    const StagePlan& s = plan_.stage[stage];
    return x_part<Weight>(stage) + stored_steps<Weight>(s.recurrent_size) * s.h_count * V;
  }
  const S* bias(int stage) const { return bias_[stage].data(); }  // [panel][gates][V]
  const S* vectors() const { return vectors_.data(); }            // [vector][padded hidden_size]
  Index vector_stride() const { return padded<S>(plan_.shape.hidden_size); }
  // Panels over the inputs of W and U; the summed index is (panel, gate, lane), as gates lie in memory.
  const S* x_transposed(int stage) const { return xt_[stage].data(); }
  const S* h_transposed(int stage) const { return ht_[stage].data(); }

  void pack_forward(const S* parameters) {
    for (int stage = 0; stage < plan_.stages; ++stage) {
      pack_stage(parameters, stage);
      if (plan_.shape.bf16) round_stage(stage);
    }
    const Index H = plan_.shape.hidden_size;
    S* to = vectors_.reserve(std::max<Index>(1, static_cast<Index>(plan_.vector_places.size())) * vector_stride());
    for (const Index place : plan_.vector_places) {
      std::fill_n(to, vector_stride(), S(0));
      if (place >= 0) std::copy_n(parameters + place, H, to);
      to += vector_stride();
    }
  }

  void pack_backward(const S* parameters, bool want_x) {
    for (int stage = 0; stage < plan_.stages; ++stage) {
      const StagePlan& s = plan_.stage[stage];
      if (s.h_count > 0) {
        pack_transposed(parameters + s.weight_hh, s.recurrent_size, s.units, s.h_row, s.h_count, ht_[stage]);
      }
      if (want_x) {
        pack_transposed(parameters + s.weight_ih, plan_.shape.input_size, s.units, s.x_row, s.x_count, xt_[stage]);
      }
    }
  }

 private:
  void pack_stage(const S* parameters, int stage) {
    const StagePlan& s = plan_.stage[stage];
    const Index I = plan_.shape.input_size, K = s.recurrent_size, stride = panel_stride<S>(stage);
    const Index panels = ceil_div(s.units, V);
    S* to = forward_[stage].reserve(panels * stride);
    S* bias = bias_[stage].reserve(panels * s.gates * V);
    const double cost = 8.0 * panels * stride;  // moving a scalar costs about as much as a few operations
    parallel_for(panels, cost, [&](Index begin, Index end) {
      for (Index p = begin; p < end; ++p) {
        const Index valid = std::min<Index>(V, s.units - p * V);
        S* x_part = to + p * stride;
        S* h_part = x_part + I * s.x_count * V;
        for (int g = 0; g < s.x_count; ++g) {
          transpose_lanes<Direction::Pack, S>(parameters + s.weight_ih + (s.x_row[g] + p * V) * I, I, valid, I,
                                              x_part + g * V, s.x_count * V);
        }
        for (int g = 0; g < s.h_count; ++g) {
          transpose_lanes<Direction::Pack, S>(parameters + s.weight_hh + (s.h_row[g] + p * V) * K, K, valid, K,
                                              h_part + g * V, s.h_count * V);
        }
        pack_bias(parameters, s, p * V, valid, bias + p * s.gates * V);
      }
    });
  }

  // From the panels of a stage to panels of BFloat16, two steps of k in a lane.
  void round_stage(int stage) {
    const StagePlan& s = plan_.stage[stage];
    const Index panels = ceil_div(s.units, V), stride = panel_stride<BFloat16>(stage);
    BFloat16* to = half_[stage].reserve(panels * stride);
    std::fill_n(to, panels * stride, BFloat16(0));
    for (Index p = 0; p < panels; ++p) {
      const S* from = forward_[stage].data() + p * panel_stride<S>(stage);
      const auto round = [&](Index steps, int count, BFloat16* part) {
        for (Index k = 0; k < steps; ++k) {
          for (Index j = 0; j < count * V; ++j) part[((k / 2) * count * V + j) * 2 + k % 2] = BFloat16(*from++);
        }
      };
      round(plan_.shape.input_size, s.x_count, to + p * stride);
      round(s.recurrent_size, s.h_count, to + p * stride + x_part<BFloat16>(stage));
    }
  }

  // A gate's sum starts from the biases of the operands it sees.
  void pack_bias(const S* parameters, const StagePlan& s, Index unit, Index valid, S* to) const {
    std::fill_n(to, s.gates * V, S(0));
    if (!s.bias) return;
    for (int g = 0; g < s.gates; ++g) {
      for (Index v = 0; v < valid; ++v) {
        S& sum = to[g * V + v];
        if (g < s.x_count) sum += parameters[plan_.bias_ih + s.x_row[g] + unit + v];
        if (g >= s.h_begin) sum += parameters[plan_.bias_hh + s.h_row[g - s.h_begin] + unit + v];
      }
    }
  }

  UnitPlan plan_;
  Buffer<S> forward_[2], bias_[2], xt_[2], ht_[2], vectors_;
  Buffer<BFloat16> half_[2];
};

}  // namespace lstmcore

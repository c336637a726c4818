// The kernels of each scalar type are compiled once, in kernels_f32.cpp and kernels_f64.cpp; the bindings hold none, so
// that they can be compiled for size.
#pragma once

#include "lstmcore/attention.hpp"
#include "lstmcore/batch.hpp"
#include "lstmcore/dense.hpp"
#include "lstmcore/dropout.hpp"
#include "lstmcore/elementwise.hpp"
#include "lstmcore/embedding.hpp"
#include "lstmcore/loss.hpp"
#include "lstmcore/online.hpp"
#include "lstmcore/optimizer.hpp"
#include "lstmcore/pooling.hpp"
#include "lstmcore/recurrent.hpp"
#include "lstmcore/time_delay.hpp"
#include "lstmcore/tree.hpp"

// keyword: extern, or nothing where they are compiled
#define LSTMCORE_KERNELS(keyword, S)                                                                               \
  keyword template void lstmcore::product<lstmcore::Plain>(const lstmcore::Product<S>&, lstmcore::Index,           \
                                                           lstmcore::Index, lstmcore::Index, lstmcore::Index,      \
                                                           lstmcore::TileDone);                                    \
  keyword template std::unique_ptr<lstmcore::Unit<S>> lstmcore::make_unit(const std::string&,                      \
                                                                          const lstmcore::UnitShape&);             \
  keyword template class lstmcore::Recurrent<S>;                                                                   \
  keyword template class lstmcore::Dense<S>;                                                                       \
  keyword template class lstmcore::Pooling<S>;                                                                     \
  keyword template class lstmcore::Embedding<S>;                                                                   \
  keyword template void lstmcore::gather(const S*, lstmcore::Index, const std::int64_t*, const std::int64_t*,      \
                                         const std::int64_t*, lstmcore::Index, S*);                                \
  keyword template void lstmcore::scatter(const S*, lstmcore::Index, const std::int64_t*, const std::int64_t*,     \
                                          const std::int64_t*, lstmcore::Index, S*);                               \
  keyword template void lstmcore::segment_sum(const S*, lstmcore::Index, const std::int64_t*, const std::int64_t*, \
                                              lstmcore::Index, S*);                                                \
  keyword template void lstmcore::apply_dropout(S*, std::ptrdiff_t, double, std::uint64_t);                        \
  keyword template class lstmcore::Attention<S>;                                                                   \
  keyword template class lstmcore::TimeDelay<S>;                                                                   \
  keyword template class lstmcore::TreeLstm<S>;                                                                    \
  keyword template class lstmcore::Rtrl<S>;                                                                        \
  keyword template class lstmcore::OnlineLearner<S>;                                                               \
  keyword template void lstmcore::apply_tanh(S*, std::ptrdiff_t);                                                  \
  keyword template void lstmcore::apply_tanh_slope(S*, const S*, std::ptrdiff_t);

#define LSTMCORE_TRAINING_KERNELS(keyword, S)                                                                  \
  keyword template double lstmcore::squared_loss(const lstmcore::LossBatch<S>&, const S*);                     \
  keyword template double lstmcore::absolute_loss(const lstmcore::LossBatch<S>&, const S*);                    \
  keyword template double lstmcore::huber_loss(const lstmcore::LossBatch<S>&, const S*, double);               \
  keyword template double lstmcore::quantile_loss(const lstmcore::LossBatch<S>&, const S*,                     \
                                                  const std::vector<double>&);                                 \
  keyword template double lstmcore::binary_cross_entropy(const lstmcore::LossBatch<S>&, const S*);             \
  keyword template double lstmcore::cross_entropy(const lstmcore::LossBatch<S>&, const std::int64_t*, double); \
  keyword template void lstmcore::sigmoid(const S*, lstmcore::Index, S*);                                      \
  keyword template class lstmcore::Softmax<S>;                                                                 \
  keyword template lstmcore::GradientScale lstmcore::clip_gradient(S*, std::ptrdiff_t, double, double);        \
  keyword template struct lstmcore::Sgd<S>;                                                                    \
  keyword template struct lstmcore::Adam<S>;                                                                   \
  keyword template struct lstmcore::RmsProp<S>;

LSTMCORE_KERNELS(extern, float)
LSTMCORE_KERNELS(extern, double)
LSTMCORE_TRAINING_KERNELS(extern, float)
LSTMCORE_TRAINING_KERNELS(extern, double)

// Rows between the caller's arrays and whole vectors, by the lanes that are a member's of the team.
#pragma once

#include <algorithm>

#include "lstmcore/packet.hpp"
#include "lstmcore/share.hpp"

namespace lstmcore {

// A member's lanes of rows of `width`: [begin, whole) in whole vectors, [begin, end) up to the width.
template <class S>
struct Lanes {
  Index begin, whole, end;
  Lanes(const Share& share, Index width)
      : begin(share.first(ceil_div(width, Vec<S>::width)) * Vec<S>::width),
        whole(share.last(ceil_div(width, Vec<S>::width)) * Vec<S>::width),
        end(std::min(whole, width)) {}
  Lanes before(Index width) const {
    Lanes lanes = *this;
    lanes.end = std::clamp(width, begin, end);
    return lanes;
  }
};

// Row b of a caller's array [B, width], which may be nullptr: nullptr then.
template <class S>
S* row_at(S* array, Index b, Index width) {
  return array == nullptr ? nullptr : array + b * width;
}

// A caller's row, or zeros for nullptr, into one of whole vectors.
template <class S>
void load_row(const S* row, const Lanes<S>& lanes, S* to) {
  if (row == nullptr) {
    std::fill(to + lanes.begin, to + lanes.whole, S(0));
  } else {
    std::copy(row + lanes.begin, row + lanes.end, to + lanes.begin);
    std::fill(to + lanes.end, to + lanes.whole, S(0));
  }
}

// And back; nothing where it is not wanted.
template <class S>
void store_row(const S* from, const Lanes<S>& lanes, S* row) {
  if (row != nullptr) std::copy(from + lanes.begin, from + lanes.end, row + lanes.begin);
}

}  // namespace lstmcore

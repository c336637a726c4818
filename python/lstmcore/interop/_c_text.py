"""The text of C headers: `$name` is the model's name, `$real` float or double, `$exp` and `$tanh` of that type."""

from __future__ import annotations

from string import Template


class CText(Template):
    """C with places for `$name`, of letters alone: `$name_step` is the name and "_step"."""

    idpattern = "[a-z]+"


HEADER = """\
/* $described
 *
 * Written by lstmcore $version: C99, no allocation. Include it in one file.
 *
 *   static $name_state state;
 *   $name_reset(&state);                  before each sequence
 *   $name_step(&state, x, y);             x [$inputs] to y [$outputs]
 *
 * Bytes: $weight of constants, $state of state, $scratch on the stack of a step.
 * Outputs agree with Python's to about $tolerance of their scale.
 */
#ifndef $name_INCLUDED
#define $name_INCLUDED

#include <math.h>
#include <stddef.h>

#define $name_INPUTS $inputs
#define $name_OUTPUTS $outputs
#define $name_HIDDEN $hidden
#define $name_WEIGHT_BYTES $weight
#define $name_STATE_BYTES $state
#define $name_SCRATCH_BYTES $scratch

typedef struct {
$fields
} $name_state;

$constants

$functions
/* The state before the first step. */
static inline void $name_reset($name_state *s) {
  for (size_t l = 0; l < $layers; ++l) {
    for (size_t j = 0; j < $name_HIDDEN; ++j) {
$zeros
    }
  }
}

/* One step. */
static inline void $name_step($name_state *s, const $real *x, $real *y) {
$step
}

#endif
"""

FUNCTIONS = {
    "sigmoid": """\
static inline $real $name_sigmoid($real a) { return 1 / (1 + $exp(-a)); }
""",
    "start": """\
/* out = b, or zero without a b */
static inline void $name_start(size_t n, const $real *b, $real *out) {
  for (size_t k = 0; k < n; ++k) out[k] = b ? b[k] : 0;
}
""",
    "sums": """\
/* out += W v, W [rows][columns] */
static inline void $name_sums(size_t rows, size_t columns, const $real *w, const $real *v, $real *out) {
  for (size_t r = 0; r < rows; ++r) {
    $real sum = out[r];
    for (size_t k = 0; k < columns; ++k) sum += *w++ * v[k];
    out[r] = sum;
  }
}
""",
    "standardize": """\
static inline void $name_standardize(size_t n, const $real *mean, const $real *rate, const $real *x, $real *out) {
  for (size_t k = 0; k < n; ++k) out[k] = (x[k] - mean[k]) * rate[k];
}
""",
    "rescale": """\
/* outputs in their own units */
static inline void $name_rescale(size_t n, const $real *mean, const $real *scale, $real *y) {
  for (size_t k = 0; k < n; ++k) y[k] = y[k] * scale[k] + mean[k];
}
""",
    "probabilities": """\
static inline void $name_probabilities(size_t n, $real *y) {
  for (size_t k = 0; k < n; ++k) y[k] = $name_sigmoid(y[k]);
}
""",
    "softmax": """\
static inline void $name_softmax(size_t n, $real *y) {
  $real most = y[0], sum = 0;
  for (size_t k = 1; k < n; ++k) most = y[k] > most ? y[k] : most;
  for (size_t k = 0; k < n; ++k) sum += y[k] = $exp(y[k] - most);
  for (size_t k = 0; k < n; ++k) y[k] /= sum;
}
""",
}


def _cell(name: str, body: str, peepholes: str = "", states: str = "h") -> str:
    """A function of the cell. n: features of x; a: scratch, the sums of the gates, each a block of H."""
    vectors = ["w", "u", "b", *(f"p{gate}" for gate in peepholes), "x"]
    given = ", ".join([*(f"const $real *{each}" for each in vectors), *(f"$real *{each}" for each in (*states, "a"))])
    opening = f"static inline void $name_{name}(size_t n, {given}) {{\n  const size_t H = $name_HIDDEN;\n"
    return f"{opening}{body}}}\n"


def _lstm(name: str, blocks: tuple[int, int, int], forget: str, peepholes: str) -> str:
    g, o, count = blocks
    body = f"""\
  $name_start({count} * H, b, a);
  $name_sums({count} * H, n, w, x, a);
  $name_sums({count} * H, H, u, h, a);
  for (size_t j = 0; j < H; ++j) {{
    const $real i = $name_sigmoid(a[j] + (pi ? pi[j] * c[j] : 0));
    const $real f = {forget};
    c[j] = f * c[j] + i * $tanh(a[{g} * H + j]);
    h[j] = $name_sigmoid(a[{o} * H + j] + (po ? po[j] * c[j] : 0)) * $tanh(c[j]);
  }}
"""
    return _cell(name, body, peepholes, "hc")


def _rnn(name: str, new: str) -> str:
    body = f"""\
  $name_start(H, b, a);
  $name_sums(H, n, w, x, a);
  $name_sums(H, H, u, h, a);
  for (size_t j = 0; j < H; ++j) h[j] = {new};
"""
    return _cell(name, body)


CELLS = {
    "lstm": _lstm("lstm", (2, 3, 4), "$name_sigmoid(a[H + j] + (pf ? pf[j] * c[j] : 0))", "ifo"),
    "lstm_coupled": _lstm("lstm_coupled", (1, 2, 3), "1 - i", "io"),
    "gru": _cell(
        "gru",
        """\
  $name_start(4 * H, b, a);
  $name_sums(3 * H, n, w, x, a);
  $name_sums(2 * H, H, u, h, a);
  $name_sums(H, H, u + 2 * H * H, h, a + 3 * H);
  for (size_t j = 0; j < H; ++j) {
    const $real r = $name_sigmoid(a[j]);
    const $real z = $name_sigmoid(a[H + j]);
    const $real m = $tanh(a[2 * H + j] + r * a[3 * H + j]);
    h[j] = (1 - z) * m + z * h[j];
  }
""",
    ),
    "gru_reset_before": _cell(
        "gru_reset_before",
        """\
  $name_start(3 * H, b, a);
  $name_sums(3 * H, n, w, x, a);
  $name_sums(2 * H, H, u, h, a);
  for (size_t j = 0; j < H; ++j) a[j] = $name_sigmoid(a[j]) * h[j]; /* r h */
  $name_sums(H, H, u + 2 * H * H, a, a + 2 * H);
  for (size_t j = 0; j < H; ++j) {
    const $real z = $name_sigmoid(a[H + j]);
    h[j] = (1 - z) * $tanh(a[2 * H + j]) + z * h[j];
  }
""",
    ),
    "mgu": _cell(
        "mgu",
        """\
  $name_start(2 * H, b, a);
  $name_sums(2 * H, n, w, x, a);
  $name_sums(H, H, u, h, a);
  for (size_t j = 0; j < H; ++j) {
    a[j] = $name_sigmoid(a[j]);
    a[2 * H + j] = a[j] * h[j]; /* f h */
  }
  $name_sums(H, H, u + H * H, a + 2 * H, a + H);
  for (size_t j = 0; j < H; ++j) h[j] = (1 - a[j]) * h[j] + a[j] * $tanh(a[H + j]);
""",
    ),
    "rnn_tanh": _rnn("rnn_tanh", "$tanh(a[j])"),
    "rnn_relu": _rnn("rnn_relu", "a[j] > 0 ? a[j] : 0"),
    "rnn_hardtanh": _rnn("rnn_hardtanh", "a[j] > 1 ? 1 : a[j] < -1 ? -1 : a[j]"),
    "rnn_residual": _rnn("rnn_residual", "h[j] + $tanh(a[j])"),
}

"""TimeDelay is PyTorch's causal one-dimensional convolution: outputs and gradients."""

from __future__ import annotations

import numpy as np
import pytest

from lstmcore import TimeDelay

torch = pytest.importorskip("torch")


def test_a_causal_convolution() -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((20, 4, 3)), rng.standard_normal((20, 4, 8))
    layer = TimeDelay(3, 8, (0, 2, 4), dtype="float64", seed=0)
    y, _ = layer.forward(x)
    dx, _ = layer.backward(dy)

    conv = torch.nn.Conv1d(3, 8, kernel_size=3, dilation=2, dtype=torch.float64)
    with torch.no_grad():  # [H, K, I], the present first, to [H, I, K], the present last
        conv.weight.copy_(torch.tensor(layer.parameters["weight_ih_l0"].transpose(0, 2, 1)[..., ::-1].copy()))
        conv.bias.copy_(torch.tensor(layer.parameters["bias_ih_l0"]))
    given = torch.tensor(x, requires_grad=True)
    found = torch.tanh(conv(torch.nn.functional.pad(given.permute(1, 2, 0), (4, 0)))).permute(2, 0, 1)
    found.backward(torch.tensor(dy))

    np.testing.assert_allclose(y, found.detach().numpy(), atol=1e-14)
    np.testing.assert_allclose(dx, given.grad.numpy(), atol=1e-13)
    dweight = conv.weight.grad.numpy()[..., ::-1].transpose(0, 2, 1)
    np.testing.assert_allclose(layer.gradients["weight_ih_l0"], dweight, atol=1e-12)
    np.testing.assert_allclose(layer.gradients["bias_ih_l0"], conv.bias.grad.numpy(), atol=1e-12)

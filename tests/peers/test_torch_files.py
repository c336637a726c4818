"""A layer's file is a state_dict that PyTorch reads as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lstmcore


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(
    ("layer", "module"),
    [
        (
            lstmcore.LSTM(3, 5, 2, bidirectional=True, proj_size=2, seed=0),
            torch.nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2),
        ),
        (lstmcore.LSTM(3, 5, seed=0), torch.nn.LSTM(3, 5)),
        (lstmcore.GRU(3, 5, bias=False, seed=0), torch.nn.GRU(3, 5, bias=False)),
        (lstmcore.RNN(3, 5, nonlinearity="relu", seed=0), torch.nn.RNN(3, 5, nonlinearity="relu")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_torch_reads_a_layers_file(layer: Any, module: torch.nn.Module, tmp_path: Path) -> None:
    layer.save(tmp_path / "layer.safetensors")
    module.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    x = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32)
    with torch.no_grad():
        expected, _ = module(torch.tensor(x))
    np.testing.assert_allclose(layer(x)[0], expected.numpy(), atol=1e-6)

"""A layer's file is a state_dict that PyTorch reads as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lstmcore
from lstmcore.__main__ import main


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


@pytest.mark.parametrize(
    "module", [torch.nn.LSTM(3, 5, 2, bidirectional=True), torch.nn.GRU(3, 5, dtype=torch.float64)]
)
def test_convert_reads_and_writes_state_dicts(module: torch.nn.RNNBase, tmp_path: Path) -> None:
    before, between, after = (str(tmp_path / name) for name in ("a.pt", "b.safetensors", "c.pth"))
    torch.save(module.state_dict(), before)
    assert main(["convert", before, between]) == 0
    assert repr(lstmcore.load(between)) == repr(lstmcore.from_torch(module))
    assert main(["convert", between, after]) == 0
    for name, tensor in torch.load(after, weights_only=True).items():
        assert torch.equal(tensor, module.state_dict()[name])


def test_convert_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"weight_ih_l0": Evil()}, path)
    assert main(["convert", str(path), str(tmp_path / "a.safetensors")]) == 1
    assert "is not a file of tensors alone: write it with torch.save(module.state_dict()" in capsys.readouterr().err


def test_convert_says_what_is_no_state_dict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, module = tmp_path / "a.pt", torch.nn.LSTM(2, 3)
    for content, message in (
        ({"model": module.state_dict()}, "holds a dict of ['model'], and not a state_dict of PyTorch"),
        ([torch.zeros(2)], "holds list, and not a state_dict of PyTorch"),
    ):
        torch.save(content, path)
        assert main(["convert", str(path), str(tmp_path / "a.safetensors")]) == 1
        assert message in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:300])
    assert main(["convert", str(path), str(tmp_path / "a.safetensors")]) == 1
    assert "a.pt cannot be read by PyTorch" in capsys.readouterr().err


def test_convert_reads_half_precision(tmp_path: Path) -> None:
    module = torch.nn.GRU(2, 3).bfloat16()
    torch.save(module.state_dict(), tmp_path / "a.pt")
    assert main(["convert", str(tmp_path / "a.pt"), str(tmp_path / "a.safetensors")]) == 0
    found = lstmcore.load(tmp_path / "a.safetensors").parameters["weight_hh_l0"]
    assert np.array_equal(found, module.weight_hh_l0.detach().float().numpy())


class Evil:
    def __reduce__(self) -> Any:
        return exit, (3,)

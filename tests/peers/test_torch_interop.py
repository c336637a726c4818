"""`from_torch` and `to_torch`: both ways, the same numbers, and what cannot be mapped is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import lstmcore
from lstmcore.embedding import Embedding
from lstmcore.network import Dense, Network
from lstmcore.sequences import as_sequences

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

MODULES: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"num_layers": 3, "dropout": 0.3, "bidirectional": True, "batch_first": True}),
    ("LSTM", {"num_layers": 2, "proj_size": 5, "bidirectional": True, "bias": False}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}),
    ("RNN", {"nonlinearity": "relu", "batch_first": True}),
    ("RNN", {"num_layers": 2}),
]


@pytest.mark.parametrize(("kind", "options"), MODULES)
def test_recurrent_modules_there_and_back(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(4, 9, **options)
    layer = lstmcore.from_torch(module)
    x = np.random.default_rng(1).standard_normal((3, 6, 4)).astype(layer.dtype)
    with torch.no_grad():
        expected = module.eval()(torch.tensor(x))[0].numpy()
    np.testing.assert_allclose(layer(x)[0], expected, atol=2e-6)
    back = lstmcore.to_torch(layer)
    assert repr(back) == repr(module)
    for name, value in module.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_training_mode_of_a_module_is_left_as_it_was() -> None:
    module = torch.nn.LSTM(2, 3, num_layers=2, dropout=0.5).train()
    lstmcore.from_torch(module)
    assert module.training


class Tagger(torch.nn.Module):
    """As people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(11, 5)
        self.rnn = torch.nn.GRU(5, 7, batch_first=True, bidirectional=True)
        self.drop = torch.nn.Dropout(0.25)
        self.head = torch.nn.Linear(14, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.rnn(self.embed(tokens))[0]))


def predict(network: Network, tokens: np.ndarray) -> np.ndarray:
    rows = as_sequences([row[:, None].astype(np.float32) for row in tokens], "X")
    return network.predict(rows)


def test_a_module_of_layers_becomes_a_network() -> None:
    torch.manual_seed(0)
    module = Tagger()
    network = lstmcore.from_torch(module)
    assert isinstance(network, Network)
    assert network.dropout == 0.25
    tokens = np.random.default_rng(0).integers(0, 11, (4, 6))
    with torch.no_grad():
        expected = module.eval()(torch.tensor(tokens)).numpy()
    np.testing.assert_allclose(predict(network, tokens).reshape(4, 6, 3), expected, atol=2e-6)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", None])
@pytest.mark.parametrize("embedded", [False, True])
def test_a_network_becomes_a_module(pooling: str | None, embedded: bool) -> None:
    recurrent = lstmcore.LSTM(5, 6, num_layers=2, bidirectional=True, seed=0)
    embedding = Embedding(9, 5, trainable=False, seed=0) if embedded else None
    network = Network(recurrent, pooling, Dense(12, 4, seed=1), dropout=0.5, embedding=embedding)
    module = lstmcore.to_torch(network)
    assert not module.training
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (3, 7)) if embedded else rng.standard_normal((3, 7, 5)).astype(np.float32)
    rows = [row.reshape(7, -1).astype(np.float32) for row in x]
    expected = network.predict(as_sequences(rows, "X"))
    with torch.no_grad():
        found = module(torch.tensor(x)).numpy()
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=2e-6)
    again = lstmcore.from_torch(module, pooling=pooling)
    assert isinstance(again, Network)
    assert all(np.array_equal(again.parameters[name], value) for name, value in network.parameters.items())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.LSTM(2, 3, dtype=torch.float16), "dtype of LSTM is 'float16'|float16"),
        (torch.nn.Sequential(torch.nn.LSTM(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)), r"module.1 is ReLU"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LSTM(2, 3)), r"module.1 is LSTM"),
        (torch.nn.Sequential(torch.nn.LSTM(2, 3)), "module must have an nn.Linear"),
    ],
)
def test_what_cannot_be_mapped_is_named(module: torch.nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lstmcore.from_torch(module)


def test_a_sequential_inside_counts_as_its_children() -> None:
    head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
    network = lstmcore.from_torch(torch.nn.Sequential(torch.nn.GRU(2, 3), head))
    assert isinstance(network, Network)
    assert network.dropout == 0.5
    head.append(torch.nn.Tanh())
    with pytest.raises(ValueError, match=r"module.1.2 is Tanh\(\)"):
        lstmcore.from_torch(torch.nn.Sequential(torch.nn.GRU(2, 3), head))


def test_dropout_before_the_recurrent_layer_is_lost_with_a_warning() -> None:
    module = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.LSTM(2, 3), torch.nn.Linear(3, 1))
    with pytest.warns(UserWarning, match=r"training alone is lost: module.0, Dropout\(p=0.1"):
        network = lstmcore.from_torch(module)
    assert isinstance(network, Network)
    assert network.dropout == 0.0


def test_cells_that_torch_has_not_are_named() -> None:
    with pytest.raises(ValueError, match="cell 'lstm_peephole' has no counterpart in torch"):
        lstmcore.to_torch(lstmcore.LSTM(2, 3, peepholes=True))
    for option, value in (("zoneout", 0.1), ("weight_dtype", "bfloat16")):
        with pytest.raises(ValueError, match=f"{option}={value!r} has no counterpart in torch"):
            lstmcore.to_torch(lstmcore.LSTM(2, 3, **{option: value}))
    with pytest.warns(UserWarning, match=r"training alone is lost: recurrent_dropout=0.1"):
        lstmcore.to_torch(lstmcore.LSTM(2, 3, recurrent_dropout=0.1))
    network = Network(lstmcore.GRU(2, 3), "attention", Dense(3, 1))
    with pytest.raises(ValueError, match="pooling 'attention'"):
        lstmcore.to_torch(network)
    with pytest.raises(TypeError, match="layer must be a recurrent layer or a Network, got list"):
        lstmcore.to_torch([])  # type: ignore[arg-type]
    model = lstmcore.model_from_network(Network(lstmcore.GRU(2, 3), "last", Dense(3, 1)))
    with pytest.raises(TypeError, match=r"got RegressorModel: its \.network is one"):
        lstmcore.to_torch(model)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"module must be a torch.nn.Module, got dict"):
        lstmcore.from_torch({})  # type: ignore[arg-type]

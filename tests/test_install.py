"""The installed package: its public names, its headers, its CMake package, and what importing it costs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import lstmcore

TESTS = Path(__file__).parent


def test_version_is_that_of_the_distribution() -> None:
    assert lstmcore.__version__ == metadata.version("lstmcore")


@pytest.mark.parametrize("name", lstmcore.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(lstmcore)
    assert getattr(lstmcore, name).__doc__


def test_names_of_the_reference_need_no_import_but_one(run_python) -> None:
    reference = (TESTS.parent / "docs" / "api.rst").read_text(encoding="utf-8")
    modules = sorted(set(re.findall(r"^   (\w+)\.[\w.]+$", reference, re.MULTILINE)) - {"estimators"})
    assert "layers" in modules
    run_python(f"import lstmcore; [getattr(lstmcore, name) for name in {modules}]")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lstmcore' has no attribute 'LTSM'"):
        _ = lstmcore.LTSM


def test_cells_are_those_of_the_core() -> None:
    assert {"lstm", "gru", "rnn_tanh"} <= set(lstmcore.cells())


def test_import_brings_in_numpy_and_nothing_heavy(run_python) -> None:
    heavy = ("sklearn", "scipy", "pandas", "matplotlib", "tqdm", "torch", "importlib.metadata")
    code = f"import lstmcore, sys; print([name for name in {heavy!r} if name in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_layers_and_load_need_no_scikit_learn(run_python) -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import lstmcore; lstmcore.LSTM, lstmcore.Network, lstmcore.load, lstmcore.Adam, lstmcore.Sequences"
    )
    run_python(code)


@pytest.mark.parametrize("name", ["RNNClassifier", "RNNRegressor", "RNNForecaster"])
def test_estimators_without_scikit_learn_say_what_to_install(name: str, run_python) -> None:
    code = f"import sys; sys.modules['sklearn'] = None; import lstmcore; lstmcore.{name}"
    done = run_python(code, check=False)
    assert f'ImportError: lstmcore.{name} needs scikit-learn: pip install "lstmcore[sklearn]"' in done.stderr


def test_show_versions(capsys: pytest.CaptureFixture[str]) -> None:
    lstmcore.show_versions()
    shown = capsys.readouterr().out
    for word in (lstmcore.__version__, "instruction set", "threads", "numpy", sys.version.split()[0]):
        assert word in shown


@pytest.mark.parametrize(
    ("setting", "code", "expected"),
    [
        ({}, "", "the best of those built that run here"),
        ({"LSTMCORE_ISA": lstmcore._isa.isa()}, "", f"{lstmcore._isa.isa()}: named by LSTMCORE_ISA"),
        ({"OMP_NUM_THREADS": "1"}, "", "1: OMP_NUM_THREADS=1"),
        ({"OMP_NUM_THREADS": "1"}, "lstmcore.set_num_threads(2)", "2: set_num_threads"),
    ],
)
def test_show_versions_says_why(setting: dict[str, str], code: str, expected: str, run_python) -> None:
    done = run_python(f"import lstmcore; {code}\nlstmcore.show_versions()", **setting)
    assert expected in done.stdout
    if sys.platform == "linux":
        assert "openblas" in done.stdout.lower() or "mkl" in done.stdout.lower()


def test_headers_are_installed() -> None:
    include = Path(lstmcore.get_include())
    source = TESTS.parent / "include"
    for name in ("packet.hpp", "panel.hpp", "recurrent.hpp", "cells/lstm.hpp"):
        assert (include / "lstmcore" / name).is_file()
    if source.is_dir():
        wanted = sorted(path.relative_to(source) for path in source.rglob("*.hpp"))
        assert sorted(path.relative_to(include) for path in include.rglob("*.hpp")) == wanted


CONSUMER_CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES CXX)
find_package(lstmcore {version} CONFIG REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE lstmcore::lstmcore)
"""


def _tool(name: str) -> str:
    beside_python = Path(sys.executable).parent / name
    tool = str(beside_python) if beside_python.exists() else shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} is missing: pip install {name}")
    return tool


def test_a_cmake_project_finds_the_package_and_computes_as_python_does(tmp_path: Path) -> None:
    page = TESTS.parent / "docs" / "guide" / "cpp.md"
    _, main = re.findall(r"```cpp\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER_CMAKE.format(version=lstmcore.__version__))
    (tmp_path / "main.cpp").write_text(main)
    configure = [
        _tool("cmake"),
        *("-S", str(tmp_path), "-B", str(tmp_path / "build"), "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
        f"-Dlstmcore_DIR={lstmcore.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",  # where Eigen's headers may be
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    build = [_tool("cmake"), "--build", str(tmp_path / "build")]
    for command in (configure, build, [str(tmp_path / "build" / "consumer")]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    layer = lstmcore.LSTM(4, 32)
    layer.load_parameters({name: np.full(p.shape, 0.01, np.float32) for name, p in layer.parameters.items()})
    h, _ = layer(np.ones((100, 2, 4), np.float32))[1]
    assert np.isclose(float(done.stdout), h[0, 0, 0], rtol=1e-6)

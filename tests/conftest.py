"""What all tests share: a fixed seed, and Python processes of their own for what is decided at import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

try:
    from hypothesis import settings
except ImportError:  # the peer tests run without it
    pass
else:
    # The same examples on every machine and every run; no deadline, since a loaded machine is not a failure.
    settings.register_profile("lstmcore", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("lstmcore")

os.environ.setdefault("KERAS_BACKEND", "torch")  # which the tests against peers have anyway

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed."""
    return np.random.default_rng(20240229)


@pytest.fixture
def run_python() -> RunPython:
    """Return a function that runs code in a new interpreter: run_python(code, LSTMCORE_ISA="x86_64_v3")."""

    def run(code: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("LSTMCORE_ISA", *environment)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=inherited | environment, timeout=300
        )
        if check and done.returncode != 0:
            pytest.fail(f"the child process failed:\n{code}\n{done.stdout}{done.stderr}")
        return done

    return run

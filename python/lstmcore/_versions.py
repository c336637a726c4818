"""What a bug report needs: versions, instruction set, threads."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from lstmcore import __version__, _isa, _threads

_PACKAGES = ("numpy", "safetensors", "scikit-learn", "tqdm", "matplotlib", "torch")


def show_versions() -> None:
    """Print versions of lstmcore, Python and related packages, the instruction set and the number of threads."""
    rows = {
        "lstmcore": __version__,
        "instruction set": f"{_isa.isa()} (available: {', '.join(_isa.available())})",
        "threads": str(_threads.get_num_threads()),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
    }
    rows.update({name: _installed_version(name) for name in _PACKAGES})
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"

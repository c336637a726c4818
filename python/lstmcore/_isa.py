"""Picks the extension module for this CPU: one per instruction set, all compiled from the same sources.

The best one that the CPU has, the operating system supports and this installation holds is taken. The environment
variable ``LSTMCORE_ISA`` forces one by name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import TYPE_CHECKING

from lstmcore import _cpu

__all__ = ["KNOWN", "available", "built", "choose", "core", "isa", "supported"]

KNOWN = ("x86_64_v4", "x86_64_v3", "x86_64_v2", "aarch64")
"""Names of all instruction sets that there are kernels for, best first."""

ENVIRONMENT_VARIABLE = "LSTMCORE_ISA"


def built() -> tuple[str, ...]:
    """Return the names of the instruction sets that this installation holds a module for, best first."""
    return tuple(name for name in KNOWN if importlib.util.find_spec(f"lstmcore._core_{name}") is not None)


def supported() -> tuple[str, ...]:
    """Return the names of the instruction sets that the CPU and the operating system support, best first."""
    return _cpu.supported()


def available() -> tuple[str, ...]:
    """Return the names of the instruction sets that can be used here: built and supported, best first."""
    can_run = supported()
    return tuple(name for name in built() if name in can_run)


def choose(forced: str | None) -> str:
    """Return the name of the instruction set to use.

    Parameters
    ----------
    forced : str or None
        A name from `KNOWN`, or None or "" for the best one available.

    Raises
    ------
    ValueError
        If `forced` is not a known name.
    ImportError
        If `forced` cannot be used here, or nothing can.
    """
    if forced and forced not in KNOWN:
        raise ValueError(f"{ENVIRONMENT_VARIABLE}={forced!r} is not a known instruction set; known: {', '.join(KNOWN)}")
    if forced and forced not in supported():
        raise ImportError(
            f"{ENVIRONMENT_VARIABLE}={forced!r} is not supported by this CPU or operating system; "
            f"supported: {', '.join(supported()) or 'none'}"
        )
    usable = available()
    if forced and forced not in usable:
        raise ImportError(
            f"{ENVIRONMENT_VARIABLE}={forced!r} was not built into this installation of lstmcore; "
            f"built: {', '.join(built()) or 'none'}"
        )
    if not usable:
        raise ImportError(
            f"lstmcore has no module that this CPU can run: built: {', '.join(built()) or 'none'}; "
            f"supported here: {', '.join(supported()) or 'none'}"
        )
    return forced or usable[0]


def _load() -> ModuleType:
    name = choose(os.environ.get(ENVIRONMENT_VARIABLE))
    return importlib.import_module(f"lstmcore._core_{name}")


def isa() -> str:
    """Return the name of the instruction set in use, such as "x86_64_v3"."""
    return str(core.isa())


if TYPE_CHECKING:
    from lstmcore import _core as core  # the stub _core.pyi: the interface that all these modules share
else:
    core = _load()

"""Looks into a built wheel and sdist: python tests/check_wheel.py FOLDER.

A module for every instruction set, headers, CMake package, type information and licence are in; the wheel is small;
the sdist holds sources and nothing that a build or a tool left behind.
"""

from __future__ import annotations

import platform
import sys
import tarfile
import zipfile
from pathlib import Path

LARGEST_WHEEL = 3_000_000
MODULES = {"x86_64": ("x86_64_v2", "x86_64_v3", "x86_64_v4"), "aarch64": ("aarch64",), "arm64": ("aarch64",)}
JUNK = (".so", ".pyc", ".o", ".a", "CMakeCache.txt", ".stamp", "__pycache__", ".venv")


def check_wheel(path: Path) -> list[str]:
    """Return what is wrong with a wheel."""
    names = zipfile.ZipFile(path).namelist()
    wanted = [f"lstmcore/_core_{isa}." for isa in MODULES[platform.machine()]]
    wanted += [
        *("lstmcore/_cpu.", "lstmcore/__init__.py", "lstmcore/py.typed", "lstmcore/_core.pyi"),
        *("lstmcore/include/lstmcore/recurrent.hpp", "lstmcore/include/lstmcore/cells/lstm.hpp"),
        *("lstmcore/lib/cmake/lstmcore/lstmcoreConfig.cmake", "lstmcore/lib/cmake/lstmcore/LstmcoreEigen.cmake"),
    ]
    wrong = [f"{path.name} lacks {want}*" for want in wanted if not any(name.startswith(want) for name in names)]
    if not any(name.endswith("/licenses/LICENSE") for name in names):
        wrong.append(f"{path.name} lacks the licence")
    top = {name.partition("/")[0] for name in names}
    wrong += [f"{path.name} would install {name}" for name in top if not name.startswith("lstmcore")]
    size = path.stat().st_size
    print(f"{path.name}: {size / 1e6:.2f} MB, {len(names)} files")
    for info in sorted(zipfile.ZipFile(path).infolist(), key=lambda info: -info.compress_size)[:5]:
        print(f"  {info.compress_size / 1e3:7.0f} kB of {info.file_size / 1e3:7.0f}  {info.filename}")
    if size > LARGEST_WHEEL:
        wrong.append(f"{path.name} has {size} bytes, more than {LARGEST_WHEEL}")
    return wrong


def check_sdist(path: Path) -> list[str]:
    """Return what is wrong with an sdist."""
    names = [name.partition("/")[2] for name in tarfile.open(path).getnames()]
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {len(names)} files")
    wanted = ["CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md", "PKG-INFO", "src/module.cpp"]
    wanted += ["include/lstmcore/recurrent.hpp", "python/lstmcore/__init__.py", "tests/conftest.py"]
    wrong = [f"{path.name} lacks {name}" for name in wanted if name not in names]
    wrong += [f"{path.name} holds {name}" for name in names for junk in JUNK if junk in name]
    wrong += [f"{path.name} holds {name}" for name in names if name.startswith(("build/", "dist/", ".ci/"))]
    return wrong


def main(folder: str) -> int:
    """Check the one wheel and the one sdist in a folder."""
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    wrong = check_wheel(wheel) + check_sdist(sdist)
    print("\n".join(wrong) or "both are as they should be")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

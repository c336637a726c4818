"""The gallery's long examples: run once, their output kept, shown by `make docs` beside the code.

    make gallery                 # runs all long examples, a few minutes each
    make gallery ONLY="a b"      # runs these two

What a long example prints and draws lies under docs/results/ and is committed. It knows the code that it came from:
`make docs` warns where the code has changed since. Text may change without a new run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Examples that `make docs` itself runs, in seconds. All others are long.
SHORT = (
    *("classify_gestures", "forecast_exchange_rates", "forecast_with_quantiles", "gates_of_an_lstm", "stream_live"),
    "vanishing_gradients",
)

# Programs that go on until they are stopped: not in the gallery.
SERVICES = ("serve_over_http",)

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
RESULTS = ROOT / "docs" / "results"
FIGURE = {"dpi": 100, "colours": 256}  # small files
TEXT_BLOCK = re.compile(r"(?m)^# %%.*\n(?:#.*\n)*")


class Block(NamedTuple):
    """Code between two texts, and the number of its first line."""

    code: str
    line: int


def long_examples() -> list[str]:
    """Return the names of all examples but the short ones and the services."""
    return sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem not in (*SHORT, *SERVICES))


def read_source(name: str) -> str:
    """Return the text of an example."""
    return (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")


def code_blocks(source: str) -> list[Block]:
    """Divide an example at its texts: a docstring first, then comments that begin with ``# %%``."""
    docstring = re.match(r'""".*?"""\n', source, re.DOTALL)
    texts = [docstring.span()] if docstring else []
    texts += [found.span() for found in TEXT_BLOCK.finditer(source)]
    starts, ends = [end for _, end in texts], [start for start, _ in texts[1:]] + [len(source)]
    return [
        Block(source[start:end], source.count("\n", 0, start))
        for start, end in zip(starts, ends, strict=True)
        if source[start:end].strip()
    ]


def fingerprint(source: str) -> str:
    """Return a hash of the code of an example, whatever its texts say."""
    return hashlib.sha256("\n".join(block.code.strip() for block in code_blocks(source)).encode()).hexdigest()


def stored(name: str) -> dict[str, Any] | None:
    """Return the result of an example, None if there is none: its code's hash, and what each block printed and drew."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def is_stale(name: str) -> bool:
    """Whether the code of an example has changed since it was run."""
    result = stored(name)
    return result is None or result["code"] != fingerprint(read_source(name))


# ---- running ----


class Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, text: str) -> int:
        assert sys.__stdout__ is not None
        sys.__stdout__.write(text)
        sys.__stdout__.flush()
        return super().write(text)


def run(name: str) -> None:
    """Run an example in this process and store what it printed and drew."""
    import matplotlib

    matplotlib.use("Agg")
    warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
    import lstmcore

    source = read_source(name)
    module = types.ModuleType("__main__")
    module.__file__ = str(EXAMPLES / f"{name}.py")
    sys.modules["__main__"], sys.argv = module, [module.__file__]
    blocks: list[dict[str, Any]] = []
    n_figures, started = 0, time.perf_counter()
    for block in code_blocks(source):
        with contextlib.redirect_stdout(Tee()) as printed:
            exec(compile("\n" * block.line + block.code, module.__file__, "exec"), vars(module))
        figures = save_figures(name, n_figures)
        n_figures += len(figures)
        blocks.append({"printed": printed.getvalue().splitlines(), "figures": figures})
    seconds = round(time.perf_counter() - started)
    for path in RESULTS.glob(f"{name}_*.png"):
        if int(path.stem.rpartition("_")[2]) > n_figures:
            path.unlink()
    result = {
        "code": fingerprint(source),
        "seconds": seconds,
        "threads": lstmcore.get_num_threads(),
        "blocks": blocks,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save_figures(name: str, n_before: int) -> list[str]:
    """Write the open figures as small PNG files, close them, and return the files' names."""
    import matplotlib.pyplot as plt
    from PIL import Image

    names = []
    for i, number in enumerate(plt.get_fignums()):
        drawn = io.BytesIO()
        plt.figure(number).savefig(drawn, dpi=FIGURE["dpi"])
        names.append(f"{name}_{n_before + i + 1}.png")
        image = Image.open(drawn).convert("RGB").quantize(FIGURE["colours"], dither=Image.Dither.NONE)
        image.save(RESULTS / names[-1], optimize=True)
    plt.close("all")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="examples to run, without .py; else all long ones")
    parser.add_argument("--here", action="store_true", help="run them in this process")
    options = parser.parse_args()
    names = [Path(name).stem for name in options.names] or long_examples()
    if unknown := sorted(set(names) - set(long_examples())):
        parser.error(f"no long examples: {', '.join(unknown)}; there are {', '.join(long_examples())}")
    if options.here:
        for name in names:
            run(name)
        return 0
    environment = {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "0", **os.environ}
    failed = []
    for name in names:
        print(f"==== {name} ====", flush=True)
        started = time.perf_counter()
        if subprocess.run([sys.executable, __file__, "--here", name], cwd=ROOT, env=environment).returncode:
            failed.append(name)
        print(f"---- {name}: {time.perf_counter() - started:.0f} s", flush=True)
    if failed:
        print("failed:", ", ".join(failed))
    return bool(failed)


# ---- Sphinx ----


def prepare(app: Sphinx) -> None:
    """Warn of results older than their code; put first figures where the gallery makes its thumbnails from."""
    from sphinx.util import logging

    images = Path(app.srcdir) / "auto_examples" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name in long_examples():
        if is_stale(name):
            state = "is older than its code" if stored(name) else "is not there"
            logging.getLogger(__name__).warning(
                'the result of examples/%s.py %s: make gallery ONLY="%s"', name, state, name
            )
        figure = RESULTS / f"{name}_1.png"
        if figure.is_file():
            shutil.copyfile(figure, images / f"sphx_glr_{name}_001.png")


def show_results(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put what a long example printed and drew below each block of its code."""
    folder, _, name = docname.rpartition("/")
    if folder != "auto_examples" or name not in long_examples():
        return
    app.env.note_dependency(str(RESULTS / f"{name}.json"))
    result = stored(name)
    if result is None:
        return
    page, footer, downloads = content[0].partition(f".. _sphx_glr_download_auto_examples_{name}.py:")
    pieces = re.split(r"(?m)^(?=\.\. GENERATED FROM PYTHON SOURCE LINES)", page)
    outputs = iter(result["blocks"])
    for i, piece in enumerate(pieces):
        if "\n.. code-block:: Python\n" in piece and (output := next(outputs, None)):
            pieces[i] += as_rst(output)
    ran = f"*Its output was stored; it took {result['seconds']} s on {result['threads']} threads.*\n\n"
    content[0] = "".join([*pieces, ran, footer, downloads])


def as_rst(output: dict[str, Any]) -> str:
    """Return what a block printed and drew, in the gallery's form."""
    figures = "".join(
        f".. image:: /results/{figure}\n   :alt: {figure}\n   :class: sphx-glr-single-img\n\n"
        for figure in output["figures"]
    )
    lines = "".join(f"    {line}\n" for line in output["printed"])
    printed = f".. rst-class:: sphx-glr-script-out\n\n .. code-block:: none\n\n{lines}\n\n" if lines.strip() else ""
    return figures + printed


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", prepare, priority=100)
    app.connect("source-read", show_results)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    sys.exit(main())

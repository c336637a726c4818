"""The command line: ``python -m lstmcore info|bench|predict|convert``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lstmcore import show_versions
from lstmcore._cli import bench, convert, predict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 for an error, which is one line on stderr; 2 for a wrong call."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    run = options.pop("run")
    try:
        run(**options)
        sys.stdout.flush()
    except BrokenPipeError:  # of `| head`; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, TypeError, RuntimeError, ImportError, MemoryError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"{parser.prog}: {message}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lstmcore", description="Recurrent networks on CPUs.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: object, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(run=run)
        return command

    add("info", show_versions, "print versions, instruction set and threads, and why these")
    command = add("bench", bench.run, "measure how fast recurrent layers run on this CPU")
    command.add_argument("--cell", default="lstm,gru", help="cells, separated by commas (%(default)s)")
    command.add_argument("--hidden-size", default="32,128,512", help="hidden sizes, separated by commas (%(default)s)")
    command.add_argument("--seconds", type=float, default=0.1, help="for each figure, at least (%(default)s)")
    command = add("predict", predict.run, "predict with a model file")
    command.add_argument("model", type=Path, metavar="MODEL", help="what save of an estimator wrote")
    command.add_argument("files", type=Path, metavar="FILE", nargs="+", help=predict.FILES)
    command.add_argument("--steps", type=int, help="how far a forecaster looks (default: its horizon)")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the CSV there")
    command = add("convert", convert.run, "convert a model file, from and to what the suffixes say")
    command.add_argument("source", type=Path, metavar="IN", help=f"a file of {', '.join(convert.READERS)}")
    command.add_argument("target", type=Path, metavar="OUT", help=f"a file of {', '.join(convert.WRITERS)}")
    command.add_argument("--name", help="what names in a .h begin with (default: the name of the file)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

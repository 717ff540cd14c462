"""The command line: ``pydl <command>``, the same as ``python -m pydl <command>``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["COMMANDS", "Command", "info", "main"]


class Command(NamedTuple):
    """A sub-command: ``module:function`` takes its arguments and returns an exit code or None."""

    function: str
    help: str


COMMANDS = {
    "info": Command("pydl.cli:info", "version, instruction set, threads, backends, folders"),
    "demo": Command("pydl.demo:main", "train a network on real handwritten digits and draw it"),
    "train": Command("pydl.commands.train:main", "train a model of a text, a series or images"),
    "generate": Command("pydl.commands.generate:main", "let a trained model of a text write"),
    "classify": Command("pydl.commands.classify:main", "say what is on a picture"),
    "lecture": Command("pydl.commands.lecture:main", "run the lecture's notebooks in the terminal"),
    "bench": Command("pydl.bench:main", "check and time every kernel"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command.

    Returns
    -------
    int
        The exit code: 0 for success, 1 for a failure, 2 for a wrong command line, 130 after an
        interrupt.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not arguments:
        parser.print_help()
        return 2
    try:
        command = parser.parse_args(arguments[:1]).command
    except SystemExit as exit:
        return _code(exit.code)
    if command not in COMMANDS:
        print(f"pydl: unknown command {command!r}\n", file=sys.stderr)
        parser.print_help(sys.stderr)
        return 2
    return _call(command, arguments[1:])


def _call(name: str, arguments: list[str]) -> int:
    module, function = COMMANDS[name].function.split(":")
    try:
        run: Callable[[list[str]], int | None] = getattr(importlib.import_module(module), function)
        code = run(arguments)
        sys.stdout.flush()
        return code or 0
    except SystemExit as exit:
        return _code(exit.code)
    except ImportError as error:
        print(f"pydl {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pydl {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {c.help}" for name, c in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="pydl", formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="pydl [-h] [--version] <command> ...",
        description="Deep-learning kernels for NumPy arrays on CPUs.",
        epilog=f"commands:\n{table}\n\n'pydl <command> --help' shows a command's options.")
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.add_argument("command", metavar="<command>", help="one of the commands below")
    return parser


class _Version(argparse.Action):
    """Imports pydl only when the version is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import pydl

        print(f"pydl {pydl.__version__}")
        parser.exit()


def info(argv: Sequence[str] | None = None) -> int:
    """Print what pydl is and what it uses on this machine; `--json` for a program."""
    parser = argparse.ArgumentParser(
        prog="pydl info", description="Version, instruction set, threads, backends, folders.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    facts = collect()
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):{width}}  {_text(name, value)}")
    return 0


def collect() -> dict[str, Any]:
    """The facts of ``pydl info`` by name, ready for JSON."""
    import numpy

    import pydl
    from pydl import data, runtime
    from pydl.kernels import registry

    return {
        "version": pydl.__version__,
        "package": str(Path(pydl.__file__).resolve().parent),
        "isa": runtime.isa(),
        "available_isas": runtime.available_isas(),
        "threads": runtime.get_num_threads(),
        "cpus": os.cpu_count(),
        "backends": list(registry.names()),
        "active_backend": registry.which("conv2d_forward"),
        "kernels": len(registry.kernels()),
        "memory": runtime.memory_stats(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "data_folder": str(data.cache_folder()),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("PYDL_")},
    }


def _text(name: str, value: Any) -> str:
    if name == "memory":
        return ", ".join(f"{k} {v / 2**20:,.0f} MiB" if "byte" in k or k == "limit" else f"{k} {v}"
                         for k, v in value.items())
    if isinstance(value, dict):
        return ", ".join(f"{k}={v}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _code(code: Any) -> int:
    if isinstance(code, int):
        return code
    if code is not None:
        print(code, file=sys.stderr)
    return 0 if code is None else 1


if __name__ == "__main__":
    sys.exit(main())

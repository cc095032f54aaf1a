"""`python -m search`, or `cifar-search` where it is installed: lists the commands, and runs the one that is named."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from search.cli import nearest, run_command
from search.completion import script

COMMANDS = {
    "run": "search networks and training settings; given again, goes on",
    "retrain": "train the best trials, or a recipe, in full and report them",
    "show": "show a study or trial in the terminal, or list the studies",
    "report": "tell what a study is worth, or compare finished runs",
    "dashboard": "show a study in Optuna's dashboard",
    "predict": "name the classes of pictures",
    "export": "write a trained model as ONNX, TorchScript or torch.export",
    "submit": "write a submission for a Kaggle test pickle",
    "lr_range": "find a learning rate",
    "clean": "remove checkpoints that nobody will use",
}
"""What each command does, in the order in which they are used."""
COMPLETION = "completion in bash, for cifar-search: source <(cifar-search --completion)"


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  python -m search.{name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(["commands; each has --help:", *lines, COMPLETION])


def main() -> int:
    """Runs the command that the arguments name; without one, lists all."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--completion":
        print(script(COMMANDS), end="")
        return 0
    if name not in COMMANDS:
        print(f"error: no such command: {name!r}.{nearest(name, COMMANDS)} See python -m search.", file=sys.stderr)
        return 2
    return run(name, arguments)


def run(name: str, arguments: Sequence[str]) -> int:
    """Runs a command; its exit status."""
    return run_command(importlib.import_module(f"search.{name}").main, arguments)


if __name__ == "__main__":
    raise SystemExit(main())

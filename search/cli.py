"""What every command shares: one-line errors with exit status 2, and the types of its options."""

from __future__ import annotations

import argparse
import difflib
import errno
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from cifar.errors import UserError
from cifar.text import without_password
from search.signals import Terminated, raised

SECONDS_A_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 1000 * 86400.0
"""Seconds that no duration reaches."""
DIGITS = 15
LARGEST = 10**DIGITS
"""What no count reaches: a float still holds all numbers below."""
COUNT_A_UNIT = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


STATUSES = {
    0: "it did what was asked",
    2: "an error that you can mend, told in one line",
    130: "Ctrl-C ended it; a search goes on with the same command",
    141: "the reader of its output has gone, as after `| head`",
    143: "SIGTERM ended it; a search goes on with the same command",
}
"""Exit statuses of every command."""
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What the system says of files that no program can write, whatever it does."""
EXAMPLES = "examples:"
"""First line of the text after the options, whose lines stay as they are."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds an option's default to its help, unless the help says it in words or there is none; keeps examples whole."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(EXAMPLES) else super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        complete = action.default is None or action.default is False or "(default" in (action.help or "")
        return action.help if complete else super()._get_help_string(action)


class _Switch(argparse.BooleanOptionalAction):
    """An option that switches on and its opposite, whose help stays as it was given."""

    def __init__(self, *names: Any, help: str, **options: Any) -> None:
        super().__init__(*names, **options)
        self.help = help


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text.

    Args:
        prog: name of the command.
        description: what it does.
        examples: arguments of two examples, which end the help.
    """

    _group: argparse._ArgumentGroup | None = None

    def __init__(self, prog: str, description: str, examples: tuple[str, str]) -> None:
        super().__init__(
            prog=f"python -m search.{prog}",
            description=description,
            epilog="\n  ".join([EXAMPLES, *(f"python -m search.{prog} {example}" for example in examples)]),
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )

    def group(self, title: str) -> None:
        """Begins a group of the help, to which the options that follow belong."""
        self._group = self.add_argument_group(title)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Adds an option to the group that was begun last."""
        return (
            super().add_argument(*names, **options)
            if self._group is None
            else self._group.add_argument(*names, **options)
        )

    def add_switch(self, name: str, help: str, *, default: bool = False) -> None:
        """Adds an option that switches on, and its opposite, with `no-` before its name; the last one counts."""
        self.add_argument(f"--{name}", action=_Switch, default=default, help=help)

    def choice_of_one(self) -> argparse._MutuallyExclusiveGroup:
        """Options of which one may be given, in the group that was begun last."""
        return (self if self._group is None else self._group).add_mutually_exclusive_group()

    def add_study_options(self) -> None:
        """Adds --study and --storage, which name a study that exists."""
        self.add_argument("--study", default="resnet_budget5m", help="name of the study")
        self.add_argument("--storage", help="Optuna storage of the study (default: studies/<study>/study.db)")

    def add_space_option(self, networks: str) -> None:
        """Adds --space, where only the space's network classes are needed.

        Args:
            networks: what the space defines, such as `the study's own network classes`.
        """
        self.add_argument("--space", help=f"space that defines {networks} (a Python file or module)")

    def add_split_option(self) -> None:
        """Adds --split."""
        self.add_argument(
            "--split",
            type=share,
            help="for images in <class>/ alone: share of each class for training, such as 0.8; the rest, the same "
            "images every time, is for the test (default: as the study began, else the source is split already)",
        )

    def add_device_option(self) -> None:
        """Adds --device."""
        self.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps")

    def error(self, message: str) -> NoReturn:
        """Prints one line that names the help and, for an unknown option, the nearest one; exits with status 2."""
        unknown = re.search(r"unrecognized arguments: (--[^\s=]+)", message)
        meant = nearest(unknown[1], self._option_string_actions) if unknown else ""
        print(f"error: {without_password(message)}.{meant} See {self.prog} --help.", file=sys.stderr)
        raise SystemExit(2)


def nearest(given: str, known: Iterable[str]) -> str:
    """A question after the known name that is most like the one given, to stand after a sentence; empty without one."""
    found = difflib.get_close_matches(given, known, n=1)
    return f" Did you mean {found[0]}?" if found else ""


def run_command(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status, see `STATUSES`. A `UserError` becomes one line on stderr."""
    try:
        with raised():
            main(argv)
    except UserError as error:
        print(f"error: {without_password(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("stopped", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        where = f": {error.filename}" if error.filename else ""
        print(f"error: files must be writable and have room; got {error.strerror}{where}. Mend that.", file=sys.stderr)
        return 2
    return 0


def duration(text: str) -> float:
    """Seconds from `90`, `90s`, `10m`, `1.5h`, `1h30m` or `2d`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"a duration is a number with s, m, h or d, such as 10m; got {short(text)}")
    seconds = sum(float(number) * SECONDS_A_UNIT[unit or "s"] for number, unit in parts)
    if not 0 < seconds < LONGEST:
        raise argparse.ArgumentTypeError(f"a duration must be longer than 0 and shorter than 1000d; got {short(text)}")
    return seconds


def count(text: str) -> int:
    """A positive whole number, with k, M or G: `300k`, `4.9M`, `5000000`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)", text.lower().replace("_", ""))
    value = float(match[1]) * COUNT_A_UNIT[match[2]] if match else 0.0
    if not (1 <= value < LARGEST and value.is_integer()):
        rule = "a count is a positive whole number below 1e15, such as 5000000 or 5M"
        raise argparse.ArgumentTypeError(f"{rule}; got {short(text)}")
    return int(value)


def short(text: str) -> str:
    """What a user gave, in quotes and not longer than a line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def counts(text: str) -> tuple[int, ...]:
    """One count, or several with commas between: `300k,1M,5M`."""
    return tuple(count(part) for part in text.split(","))


def non_negative_count(text: str) -> int:
    """Like `count`, or 0."""
    return 0 if text == "0" else count(text)


def natural(text: str) -> int:
    """A whole number of at least 1."""
    if len(text) > DIGITS:
        raise argparse.ArgumentTypeError(f"a whole number below 1e15 is needed; got {short(text)}")
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is needed; got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0 is needed; got {short(text)}")
    return value


def non_negative(text: str) -> float:
    """A finite number above 0, or 0."""
    return 0.0 if text in ("0", "0.0") else positive(text)


def share(text: str) -> float:
    """A number between 0 and 1."""
    value = positive(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"a share is a number between 0 and 1; got {short(text)}")
    return value


def port(text: str) -> int:
    """A TCP port, 0 to 65535."""
    if not text.isdecimal() or len(text) > DIGITS or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a whole number in 0..65535; got {short(text)}")
    return int(text)

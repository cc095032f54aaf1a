"""A real browser that opens a page, for tests of pages; Chromium, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""Path of the program; None where there is none."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no network
)
FAST_TIME = "--virtual-time-budget=15000"
"""Of the page's own time, in milliseconds: it passes as fast as the page can work."""


@dataclass(frozen=True)
class OpenedPage:
    """A page after its scripts ran."""

    dom: str
    """The document as HTML."""
    log: str
    """What the browser wrote to stderr."""

    @property
    def console(self) -> list[str]:
        """What the page wrote to the console, errors of scripts and of the security policy included."""
        return [line for line in self.log.splitlines() if "CONSOLE" in line]

    def draws(self, figure: str) -> bool:
        """Whether plotly drew into the place of this figure."""
        return "main-svg" in self.dom.split(f'id="{figure}"', 1)[1].split("</figure>", 1)[0]


@dataclass(frozen=True)
class Browser:
    """Chromium without a window and without a network."""

    program: str
    """Path of the program."""
    profile: Path
    """Folder of its settings."""

    def open(self, page: str | Path, width: int = 1280) -> OpenedPage:
        """Opens an address on this machine, or a file, in a window of this width in pixels; 500 is the least."""
        done = self._run(page, f"--window-size={width},1000", "--dump-dom")
        return OpenedPage(done.stdout, done.stderr)

    def picture(self, page: str | Path, out: Path, size: tuple[int, int], *more: str) -> None:
        """Draws what a window of this width and height in pixels shows, as PNG.

        Args:
            page: an address on this machine, or a file.
            out: the file to write.
            size: width and height in pixels.
            more: other options of the program.
        """
        width, height = size
        self._run(page, f"--window-size={width},{height}", "--hide-scrollbars", f"--screenshot={out}", *more)

    def pdf(self, page: str | Path, out: Path) -> None:
        """Prints a page as PDF (https://developer.chrome.com/docs/automation-and-testing/headless-cli)."""
        self._run(page, "--no-pdf-header-footer", f"--print-to-pdf={out}")

    def seconds(self, page: Path, out: Path) -> float:
        """Wall-clock seconds from the program's start to a picture of the page, in real time.

        The picture is taken once the page has loaded, with its scripts and what they drew until then.
        """
        began = time.monotonic()
        self._run(page, "--window-size=1280,1000", f"--screenshot={out}", clock=())
        return time.monotonic() - began

    def _run(
        self, page: str | Path, *options: str, clock: tuple[str, ...] = (FAST_TIME,)
    ) -> subprocess.CompletedProcess[str]:
        address = page if isinstance(page, str) else page.resolve().as_uri()
        line = [self.program, *FLAGS, *clock, f"--user-data-dir={self.profile}", *options, address]
        return subprocess.run(line, capture_output=True, text=True, check=True)

"""How signals end a search: trials pause after their epoch; a second signal ends all of it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from search.engine.driver import Driver
from search.signals import handled, raise_

TOLD = b"stopping once each running epoch has ended; a second Ctrl-C or SIGTERM stops at once\n"


class Stop:
    """What a signal asks of a search.

    Args:
        driver: owns the study.
        at_once: ends the search in mid-epoch; may raise what it is given.
    """

    def __init__(self, driver: Driver, at_once: Callable[[KeyboardInterrupt], None] = raise_) -> None:
        self.driver, self.at_once = driver, at_once
        self.asked: KeyboardInterrupt | None = None

    def __call__(self, interrupt: KeyboardInterrupt) -> None:
        """Lets trials that can pause do so after their epoch; others, and all at the second call, end at once."""
        again, self.asked = self.asked is not None, interrupt
        self.driver.begin_no_epoch()
        if again or not self.driver.ledger.pauses:
            self.at_once(interrupt)
        else:
            with suppress(OSError):  # unbuffered: the main thread may be in the midst of printing
                os.write(2, TOLD)

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Takes signals while the block lasts.

        Raises:
            KeyboardInterrupt: a signal has ended the search.
        """
        with handled(self):
            yield
        if self.asked is not None:
            raise self.asked

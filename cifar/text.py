"""Text that others wrote, or that holds secrets, made safe to print."""

from __future__ import annotations

import re

SECRETS = re.compile(
    r"(?P<user>://[^:/@\s]*:)\S*(?=@)|(?P<name>[?&][^=&\s]*(?:pass|pwd|secret|token)[^=&\s]*=)[^&\s]*",
    re.IGNORECASE,
)
"""Passwords in URLs: before the host, and in the query, where database drivers take them too."""


def printable(text: object, limit: int | None = None) -> str:
    r"""`str(text)` on one line, without what a terminal would obey or refuse.

    Control characters, line ends, marks that reverse the writing direction and undecodable bytes become escapes
    such as `\x1b`; letters of any language stay.

    Args:
        text: such as a file's name, or an id in a file.
        limit: characters of the result at most; None keeps all.
    """
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)[:limit])
    return "".join(escaped)[:limit]


def without_password(text: str) -> str:
    """The text with stars in place of the passwords of the URLs in it, be they valid or not."""
    return SECRETS.sub(lambda found: f"{found['user'] or found['name']}***", text)

"""Amounts as people read them."""

from __future__ import annotations


def gigabytes(count: float) -> str:
    """Bytes.

    >>> gigabytes(2.13e9), gigabytes(7e6), gigabytes(3300)
    ('2.1 GB', '7 MB', '3 kB')
    """
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:,.0f} MB"


def minutes(seconds: float) -> str:
    """A time that is only known roughly.

    >>> minutes(40), minutes(600), minutes(9000)
    ('40 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""Picture sizes of about one area: each picture is trained at the one whose shape is nearest to its own."""

from __future__ import annotations

import math
from functools import lru_cache

#: No side is longer than so many times the other.
MAX_RATIO = 2.5


@lru_cache
def sizes(resolution: int, step: int) -> tuple[tuple[int, int], ...]:
    """(width, height) in multiples of ``step`` pixels, none larger than ``resolution`` squared; the square first.

    >>> sizes(256, 64)
    ((256, 256), (192, 320), (320, 192))
    """
    area, square = resolution * resolution, max(step, resolution // step * step)
    found = [(square, square)]
    for width in range(step, math.isqrt(int(area * MAX_RATIO)) + step, step):
        height = area // width // step * step
        if height and 1 / MAX_RATIO <= width / height <= MAX_RATIO and (width, height) not in found:
            found.append((width, height))
    return tuple(f for f in found if f == found[0] or f[0] != f[1])


def nearest(size: tuple[int, int], resolution: int, step: int) -> tuple[int, int]:
    """The bucket whose ratio of sides is nearest, in logarithms, to that of a picture of ``size``.

    >>> nearest((4000, 3000), 512, 64)
    (576, 448)
    """
    ratio = math.log(size[0] / size[1])
    return min(sizes(resolution, step), key=lambda s: abs(math.log(s[0] / s[1]) - ratio))

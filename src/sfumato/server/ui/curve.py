"""A loss curve as an SVG: each step thin, the smoothed one thick, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sfumato.training.report import smooth

#: In the picture's own units; the page stretches it. At most so many points are drawn.
WIDTH, HEIGHT, POINTS = 600, 200, 400


def curve_svg(points: Sequence[tuple[int, float]], label: str) -> str:
    """The curve of (step, loss) pairs, from the first to the last step; empty for less than two.

    Args:
        label: what a screen reader says; plain words of ours.
    """
    if len(points) < 2:
        return ""
    steps, losses = zip(*points, strict=True)
    whole = [max(value, 1e-8) for value in (*losses,)]
    low, high = math.log(min(whole)), math.log(max(whole))
    span, width = max(high - low, 1e-6), steps[-1] - steps[0]

    def line(values: Sequence[float], kind: str) -> str:
        every = -(-len(values) // POINTS)
        kept = sorted({*range(0, len(values), every), len(values) - 1})
        places = " ".join(
            f"{(steps[k] - steps[0]) / width * WIDTH:.1f},{(high - math.log(max(values[k], 1e-8))) / span * HEIGHT:.1f}"
            for k in kept
        )
        return f'<polyline class="{kind}" points="{places}"/>'

    return (
        f'<svg class="curve" viewBox="-4 -4 {WIDTH + 8} {HEIGHT + 8}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{line(losses, "each")}{line(smooth(losses), "smooth")}</svg>'
    )

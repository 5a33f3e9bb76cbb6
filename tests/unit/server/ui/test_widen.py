"""A picture grows with its edges' colours, and the mask has what is new drawn."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sfumato.server.ui.widen import OVERLAP, Margins, widen


def test_edges_are_drawn_out_and_marked():
    picture = Image.new("RGB", (32, 24), "red")
    picture.paste("blue", (31, 0, 32, 24))
    wide, mask = widen(picture, None, Margins(right=16, top=8))
    assert wide.size == mask.size == (48, 32)
    assert wide.getpixel((47, 20)) == (0, 0, 255)
    assert wide.getpixel((0, 0)) == (255, 0, 0)
    drawn = np.asarray(mask) == 255
    expected = np.ones((32, 48), bool)
    expected[8 + OVERLAP :, : 32 - OVERLAP] = False
    assert np.array_equal(drawn, expected)


def test_what_was_painted_stays_painted():
    painted = Image.new("L", (32, 24))
    painted.paste(255, (10, 12, 12, 14))
    _, mask = widen(Image.new("L", (32, 24)), painted, Margins(left=8))
    assert mask.getpixel((8 + 11, 13)) == 255
    assert mask.getpixel((8 + 20, 13)) == 0


def test_a_picture_that_is_all_edge_is_drawn_whole():
    _, mask = widen(Image.new("RGB", (8, 8)), None, Margins(left=8, right=8))
    assert mask.getextrema() == (255, 255)
    assert not Margins()

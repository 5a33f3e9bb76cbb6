"""Buckets, captions and the order of pictures: pure functions, whatever they are given."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.training import buckets
from sfumato.training.captions import vary
from sfumato.training.order import Order
from sfumato.training.settings import DataSettings

SIZES = st.lists(st.tuples(st.sampled_from([(64, 64), (32, 128)]), st.integers(1, 4)), min_size=1, max_size=12)


@given(SIZES, st.integers(1, 5), st.integers(0, 9))
def test_an_epoch_shows_every_picture_as_often_as_it_repeats(pictures, batch, seed):
    sizes, repeats = zip(*pictures, strict=True)
    order = Order(sizes, repeats, batch, seed)
    batches = [order.at(step) for step in range(len(order))]
    seen = Counter(row for rows in batches for row in rows)

    assert all(seen[row] >= count for row, count in enumerate(repeats))
    assert sum(seen.values()) == batch * len(order)
    assert all(len(rows) == batch and len({sizes[row] for row in rows}) == 1 for rows in batches)


@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 4))
def test_an_epoch_shows_as_many_prior_pictures_as_others(own, prior, batch):
    order = Order(((64, 64),) * (own + prior), (1,) * (own + prior), batch, 0, (False,) * own + (True,) * prior)
    seen = [Counter(row for k in range(len(order)) for row in order.at(epoch * len(order) + k)) for epoch in (0, 1)]

    assert all(seen[0][row] >= 1 for row in range(own))
    assert sum(seen[0].values()) == batch * len(order) == sum(seen[1].values())
    assert len([row for row in seen[0] if row >= own]) == min(own, prior)


def test_epochs_differ_and_are_the_same_again():
    order = Order(((64, 64),) * 20, (1,) * 20, 1, 3)
    first, second = ([order.at(epoch * 20 + k) for k in range(20)] for epoch in (0, 1))

    assert first != second
    assert first == [Order(((64, 64),) * 20, (1,) * 20, 1, 3).at(k) for k in range(20)]


@given(st.integers(16, 6000), st.integers(16, 6000), st.sampled_from([(256, 32), (512, 64), (768, 64), (64, 64)]))
def test_a_bucket_fits_the_step_and_the_area(width, height, kind):
    resolution, step = kind
    w, h = buckets.nearest((width, height), resolution, step)

    assert w % step == h % step == 0
    assert w * h <= resolution * resolution
    if max(width, height) / min(width, height) < 1.02:
        assert w == h


@pytest.mark.parametrize(("size", "tall"), [((600, 900), True), ((900, 600), False)])
def test_the_shape_is_kept(size, tall):
    w, h = buckets.nearest(size, 512, 64)
    assert (h > w) == tall
    assert abs(math.log(w / h) - math.log(size[0] / size[1])) < 0.2


def test_captions_are_left_out_as_often_as_wished():
    data = DataSettings(data_dir=Path(), caption_dropout=0.25)
    rng = random.Random(0)
    assert 0.2 < sum(vary("a", data, rng) == "" for _ in range(2000)) / 2000 < 0.3


@given(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), st.integers(0, 8))
def test_shuffling_keeps_all_parts_and_the_first_in_place(parts, keep):
    data = DataSettings(data_dir=Path(), caption_dropout=0, shuffle_caption=True, keep_tokens=keep)
    shown = vary(", ".join(parts), data, random.Random(1)).split(", ")

    assert sorted(shown) == sorted(parts)
    assert shown[:keep] == parts[:keep]

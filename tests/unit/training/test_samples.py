"""Several prompts at once: each picture is the one that its prompt alone gives."""

import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from sfumato.engine.draw import GuidedNetwork
from sfumato.families.noise import schedule_of
from sfumato.families.registry import load
from sfumato.training import samples

PROMPTS = ("a cat", "a [dog:bird:0.5]", "a cat AND a dog :0.5", "a (red:1.3) cat, " + "very " * 90)


@pytest.mark.parametrize("cfg_scale", [1.0, 5.0])
def test_each_picture_is_the_one_that_its_prompt_alone_gives(ldm_file, monkeypatch, cfg_scale):
    networks = load(ldm_file, torch.float32, torch.float32, torch.device("cpu"))
    networks.spec = replace(networks.spec, native_size=(64, 64))
    monkeypatch.setattr(samples, "at_once", lambda networks: 4)
    seen = []
    predict = GuidedNetwork.__call__
    monkeypatch.setattr(GuidedNetwork, "__call__", lambda self, x, t: seen.append(len(x)) or predict(self, x, t))

    def drawn(rows):
        prompts, seeds = [PROMPTS[row] for row in rows], [row + 7 for row in rows]
        found = samples.sample(networks, schedule_of(networks.spec), prompts, seeds, contextlib.nullcontext, cfg_scale)
        return [np.asarray(image).astype(int) for image in found]

    together = drawn(range(4))
    assert set(seen) == {2, 1}
    alone = [drawn([row])[0] for row in range(4)]

    assert all(np.abs(one - other).max() <= 1 for one, other in zip(together, alone, strict=True))
    assert all(np.abs(one - other).max() > 1 for one, other in itertools.pairwise(together))

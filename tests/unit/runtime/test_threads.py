from __future__ import annotations

import pytest
import torch

from sfumato.errors import DeviceError
from sfumato.runtime.threads import set_threads


@pytest.fixture
def restored():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def test_a_number_is_used(restored):
    set_threads(1)

    assert torch.get_num_threads() == 1


def test_none_leaves_torchs_choice(restored):
    set_threads(None)

    assert torch.get_num_threads() == restored


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_is_refused(count):
    with pytest.raises(DeviceError, match=rf"threads is {count}; give 1 or more"):
        set_threads(count)

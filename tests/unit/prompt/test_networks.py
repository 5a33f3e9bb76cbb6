"""Network tags in prompts, as the web UI reads them."""

import pytest

from sfumato.errors import RequestError
from sfumato.prompt.networks import NetworkTag, take_networks


@pytest.mark.parametrize(
    ("prompt", "rest", "tags"),
    [
        ("a cat", "a cat", []),
        ("a <lora:x>b", "a b", [("x", 1, 1)]),
        ("<lora:x:0.8> a <LyCO:y z:-1>", " a ", [("x", 0.8, 0.8), ("y z", -1, -1)]),
        ("<lora:x:0.5:0.25>", "", [("x", 0.25, 0.5)]),
        ("<lora:x:te=0>", "", [("x", 0, 0)]),
        ("<lora:x:unet=0.5>", "", [("x", 0.5, 1)]),
        ("a <3 b> <hypernet:x:1>", "a <3 b> <hypernet:x:1>", []),
        ("<lora:x> <lora:x>", " ", [("x", 1, 1)] * 2),
    ],
)
def test_tags_are_taken_out(prompt, rest, tags):
    assert take_networks(prompt) == (rest, tuple(NetworkTag(*tag) for tag in tags))


@pytest.mark.parametrize(
    "tag", ["<lora:>", "<lora::1>", "<lora:x:much>", "<lora:x:1:1:1>", "<lora:x:dy=1>", "<lora:x:nan>"]
)
def test_wrong_tags_are_named(tag):
    with pytest.raises(RequestError, match=r"<lora:"):
        take_networks(f"a {tag} b")

"""The lines below a prompt: weights, names and brackets, and never markup of the prompt's own."""

from __future__ import annotations

import pytest

from sfumato.server.ui.names import Known
from sfumato.server.ui.reading import read_prompt

KNOWN = Known(loras=["zorb"], wildcards=["colours"])


@pytest.mark.parametrize(
    ("prompt", "wrong"),
    [
        ("a <lora:zorb:0.8> __colours__", []),
        ("<lora:zorp:1>", ["nearest: 'zorb'"]),
        ("<lora:zorb:much>", ["its strength is no number"]),
        ("<lora::1>", ["there is no name in it"]),
        ("__colour__", ["nearest: 'colours'"]),
        ("__far away__", ["models/wildcards"]),
        (r"\__colour\__ \( \]", []),
        ("<lora:{zorb|other}:1> <lora:__colours__:1>", []),
        ("<lora:a__b__c:1>", ["models/wildcards"]),
        ("((a) b", ["never closed"]),
        ("a:1.2) b] c)", ["closes nothing"]),
        ("(((", ["never closed"]),
    ],
)
def test_what_can_not_be_used_is_told_once(prompt: str, wrong: list[str]) -> None:
    faults = read_prompt(prompt, KNOWN).faults

    assert len(faults) == len(wrong)
    assert all(words in fault for words, fault in zip(wrong, faults, strict=True))


@pytest.mark.parametrize(
    "prompt", ["<img src=x>", "(<img>:1.2)", "__<img>__", "<lora:&<>:1>", "<lora:a'\"&b:1>", "(<b>"]
)
def test_a_prompt_is_shown_as_text(prompt: str) -> None:
    html = read_prompt(prompt, KNOWN).html
    ours = html.replace("</span>", "")
    for kind in ("strong", "weak", "tag", "wrong"):
        ours = ours.replace(f'<span class="{kind}"', "").replace('title="1.2"', "").replace('title="1.1"', "")

    assert "<" not in ours


def test_a_wildcard_is_shown_in_the_network_that_it_names() -> None:
    assert read_prompt("<lora:__colours__:1>", KNOWN).html == (
        '<span class="tag">&lt;lora:<span class="tag">__colours__</span>:1&gt;</span>'
    )


def test_letters_that_stand_for_others_are_not_taken_from_a_prompt() -> None:
    assert read_prompt("a \U000f0000 <lora:zorb:1>", KNOWN).html == (
        'a \N{REPLACEMENT CHARACTER} <span class="tag">&lt;lora:zorb:1&gt;</span>'
    )

"""How a prompt is read, for the lines below it: weights, networks and what is wrong made visible, all of it escaped."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from html import escape

from sfumato.errors import RequestError, nearest
from sfumato.prompt import dynamic, networks
from sfumato.prompt.attention import BREAK, parse_attention, unmatched
from sfumato.server.ui.names import Known
from sfumato.server.ui.words import say

#: Letters of no script, which stand for marked pieces while weights are read. In a prompt they are shown as a box.
_FIRST, _LAST = 0xF0000, 0xFFFFD
_STANDS = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")


@dataclass(frozen=True)
class Reading:
    """``html`` shows the prompt's runs, ``faults`` are sentences."""

    html: str
    faults: tuple[str, ...] = ()


def read_prompt(prompt: str, known: Known) -> Reading:
    """How a prompt is read: runs of another weight than 1 are marked with it, what can't be used with why.

    >>> read_prompt("a (red:1.3) <b>", Known()).html
    'a <span class="strong" title="1.3">red</span> &lt;b&gt;'
    >>> read_prompt("a (red", Known()).html
    'a <span class="strong" title="1.1"><span class="wrong">(</span>red</span>'
    >>> read_prompt("a <lora:zorp:1>", Known(loras=["zorb"])).faults
    ("There is no LoRA zorp; nearest: 'zorb'.",)
    """
    pieces = _Pieces(known)
    text = pieces.take_names(_STANDS.sub("\N{REPLACEMENT CHARACTER}", prompt))
    text = pieces.take_brackets(text)
    html = "".join(_run(words, weight) for words, weight in parse_attention(text))
    return Reading(pieces.put_back(html), tuple(pieces.faults))


class _Pieces:
    """What is taken out of a prompt, as HTML, and the sentences of those that are wrong, each once."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._html: list[str] = []
        self.faults: dict[str, None] = {}

    def take_names(self, text: str) -> str:
        """The text with a letter of ours for each wildcard and network; as in drawing, choices are made first."""
        text = dynamic.TOKEN.sub(
            lambda match: match[0] if match["name"] is None else self._put(match[0], self._wildcard(match["name"])),
            text,
        )
        return networks.TAG.sub(lambda match: self._put(match[0], self._network(match[0])), text)

    def take_brackets(self, text: str) -> str:
        """The text with a letter of ours for each bracket without its other one; an open one still counts."""
        for at in reversed(unmatched(text)):
            bracket = text[at]
            opens = bracket in "(["
            letter = self._put(bracket, say("bracket_open" if opens else "bracket_close"))
            text = text[:at] + (bracket + letter if opens else letter) + text[at + 1 :]
        return text

    def put_back(self, html: str) -> str:
        """The text with what its letters of ours stand for."""
        return _STANDS.sub(lambda match: self._html[ord(match[0]) - _FIRST], html)

    def _put(self, text: str, fault: str) -> str:
        if len(self._html) > _LAST - _FIRST:
            return ""
        self._html.append(f'<span class="{"wrong" if fault else "tag"}">{self.put_back(escape(text))}</span>')
        if fault:
            self.faults[fault] = None
        return chr(_FIRST + len(self._html) - 1)

    def _network(self, tag: str) -> str:
        if "{" in tag or _STANDS.search(tag):
            return ""  # which it is, is chosen when it is drawn
        try:
            name = networks.take_networks(tag)[1][0].name
        except RequestError as error:
            return str(error)
        return _missing(("no_lora", "look_loras"), name, self._known.loras)

    def _wildcard(self, name: str) -> str:
        return _missing(("no_wildcard", "look_wildcards"), name, self._known.wildcards)


def _missing(words: tuple[str, str], name: str, known: Collection[str]) -> str:
    """Why a name can't be used, and the nearest or where they lie; nothing if it can."""
    absent, where = words
    return "" if name in known else say(absent, name=name, hint=nearest(name, known) or say(where))


def _run(text: str, weight: float) -> str:
    if (text, weight) == BREAK:
        return ' <span class="weak">BREAK</span> '
    if weight == 1:
        return escape(text)
    kind = "strong" if weight > 1 else "weak"
    return f'<span class="{kind}" title="{weight:.3g}">{escape(text)}</span>'

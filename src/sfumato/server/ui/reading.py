"""How a prompt is read, for the line below it: weights made visible, everything a person typed escaped."""

from __future__ import annotations

from html import escape

from sfumato.prompt.attention import BREAK, parse_attention


def read_html(prompt: str) -> str:
    """The prompt's runs as HTML; those of another weight than 1 are marked with it.

    >>> read_html("a (red:1.3) <b>")
    'a <span class="strong" title="1.3">red</span> &lt;b&gt;'
    """
    return "".join(_run(text, weight) for text, weight in parse_attention(prompt))


def _run(text: str, weight: float) -> str:
    if (text, weight) == BREAK:
        return ' <span class="weak">BREAK</span> '
    if weight == 1:
        return escape(text)
    kind = "strong" if weight > 1 else "weak"
    return f'<span class="{kind}" title="{weight:.3g}">{escape(text)}</span>'

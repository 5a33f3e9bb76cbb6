"""What people may say about a picture: labels, tags, backgrounds, two things side by side."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pictures import BACKGROUNDS, Subject

FILLERS = ("cute", "beautiful", "shiny", "small", "big", "simple", "3d", "cartoon", "glossy", "nice", "high quality")
OPENERS = (
    "",
    "",
    "",
    "",
    "a picture of ",
    "an image of ",
    "a 3d render of ",
    "an icon of ",
    "an emoji of ",
    "a drawing of ",
)
CLOSERS = (
    "",
    "",
    "",
    "",
    "",
    ", 3d render",
    ", high quality",
    ", detailed",
    ", soft light",
    ", icon",
    ", best quality",
)
COLOUR_FORMS = (
    " on a {} background",
    " on a {} background",
    " on {} background",
    ", {} background",
    " against a {} background",
    " in front of a {} background",
    " on {}",
)


@dataclass(frozen=True)
class Scene:
    """One picture's content: one or two subjects and the name of the background, or None for any pale one."""

    first: Subject
    second: Subject | None
    colour: str | None


def article(noun: str) -> str:
    """The noun with its article.

    >>> article("octopus")
    'an octopus'
    """
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def noun_of(subject: Subject, rng: random.Random, tags: float) -> str:
    """What to call the subject: nearly always its label, sometimes a few of its tags."""
    label = subject.names[0] if rng.random() < 0.7 else rng.choice((*subject.names, subject.label))
    label = label.lower()
    draw = rng.random()
    if subject.tags and draw < tags:
        most = len(subject.tags) if rng.random() < 0.5 else 3
        chosen = rng.sample(subject.tags, min(len(subject.tags), rng.randint(1, most)))
        if rng.random() < 0.5:
            chosen.insert(rng.randrange(len(chosen) + 1), label)
        return ", ".join(chosen)
    draw = rng.random()
    if draw < 0.6:
        return article(label)
    if draw < 0.75:
        return "the " + label
    if draw < 0.9:
        return label
    return article(f"{rng.choice(FILLERS)} {label}")


def write(scene: Scene, rng: random.Random, tags: float = 0.0) -> str:
    """A caption for the scene; ``tags`` is how often a subject is called by its tags."""
    text = rng.choice(OPENERS) + noun_of(scene.first, rng, tags)
    if scene.second is not None:
        text += rng.choice((" and ", " and ", " next to ", " beside ", " with ")) + noun_of(scene.second, rng, 0.0)
    if scene.colour is not None:
        text += rng.choice(COLOUR_FORMS).format(scene.colour)
    return text + rng.choice(CLOSERS)


def random_scene(pool: list[Subject], rng: random.Random, pairs: float, plain: float) -> Scene:
    """A subject of the pool, sometimes (``pairs``) with a second, sometimes (``plain``) with no named colour."""
    second = rng.choice(pool) if rng.random() < pairs else None
    colour = None if rng.random() < plain else rng.choice(list(BACKGROUNDS))
    return Scene(rng.choice(pool), second, colour)


def corpus(subjects: list[Subject]) -> list[str]:
    """Every word that a caption can have, the commonest forms often: for the tokenizer."""
    rng = random.Random(0)
    lines = [write(random_scene(subjects, rng, 0.1, 0.3), rng, 0.1) for _ in range(4000)]
    for subject in subjects:
        lines += [name.lower() for name in (subject.label, *subject.names)] * 3 + [" ".join(subject.tags).lower()]
    return lines

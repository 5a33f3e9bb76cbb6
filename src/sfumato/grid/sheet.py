"""The pictures of a grid on one sheet, with what each row and column has written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

from sfumato.errors import RequestError
from sfumato.grid.axes import Axis
from sfumato.grid.expand import Layout
from sfumato.request import ImageInfo

_PAPER, _INK, _EMPTY = "white", "black", "#cccccc"
#: Letters' height, as a share of a cell's shorter side, and its bounds in pixels.
_LETTER, _SMALLEST, _LARGEST = 1 / 20, 11, 40
#: Beyond this a sheet is drawn with smaller pictures.
MAX_PIXELS = 120_000_000
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Plan:
    """Sizes in pixels: a cell, the margins of labels above and to the left, and the title of a level of z."""

    cell: tuple[int, int]
    top: int
    left: int
    title: int
    gap: int
    font: Font

    def corner(self, x: int, y: int, z: int, rows: int) -> tuple[int, int]:
        """The upper left corner of a cell."""
        level = self.title + self.top + rows * (self.cell[1] + self.gap)
        return (
            self.left + self.gap + x * (self.cell[0] + self.gap),
            z * level + self.title + self.top + self.gap + y * (self.cell[1] + self.gap),
        )


def draw_sheet(grid: Layout, pictures: Mapping[int, Image.Image] | Sequence[Image.Image]) -> Image.Image:
    """One picture of all of them. ``pictures`` are by the cells' numbers; a cell that has none is left grey.

    Labels are wrapped to their cell's width. Pictures of different sizes lie in the middle of equal cells. A level of z
    lies below the one before it.

    Raises:
        RequestError: there is no picture at all.
    """
    found = dict(pictures) if isinstance(pictures, Mapping) else dict(enumerate(pictures))
    if not found:
        raise RequestError("The grid has no picture; there is nothing to put on a sheet.")
    columns, rows, levels = (len(axis.values) for axis in (grid.x, grid.y, grid.z))
    plan = _plan(grid, cell_size([each.size for each in found.values()], columns * rows * levels))
    right, bottom = plan.corner(columns, rows, levels - 1, rows)
    sheet = Image.new("RGB", (right, bottom), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _write_labels(pen, plan, grid, sheet.width)
    for number, place in enumerate(grid.places):
        left, top = plan.corner(*place, rows)
        picture = found.get(number)
        if picture is None:
            pen.rectangle((left, top, left + plan.cell[0] - 1, top + plan.cell[1] - 1), fill=_EMPTY)
            continue
        small = picture.convert("RGB")
        small.thumbnail(plan.cell)
        sheet.paste(small, (left + (plan.cell[0] - small.width) // 2, top + (plan.cell[1] - small.height) // 2))
    return sheet


def describe(grid: Layout, info: ImageInfo) -> ImageInfo:
    """What the sheet's metadata say: the first picture's, and the axes under the web UI's names."""
    said: dict[str, object] = {"Script": "X/Y/Z plot"}
    for letter, axis in (("X", grid.x), ("Y", grid.y), ("Z", grid.z)):
        if axis.field:
            said |= {f"{letter} Type": axis.field, f"{letter} Values": ", ".join(_plain(axis))}
    return replace(info, extra={**info.extra, **said})


def _plain(axis: Axis) -> list[str]:
    return [label.removeprefix(f"{axis.field.replace('_', ' ')}: ").replace("\n", "; ") for label in axis.labels]


def cell_size(sizes: Sequence[tuple[int, int]], count: int) -> tuple[int, int]:
    """The room for each of ``count`` pictures, of these sizes in pixels, on one sheet.

    >>> cell_size([(512, 768), (768, 512)], 6)
    (768, 768)
    """
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    ratio = min(1.0, (MAX_PIXELS / (count * width * height)) ** 0.5)
    return max(1, int(width * ratio)), max(1, int(height * ratio))


def _plan(grid: Layout, cell: tuple[int, int]) -> _Plan:
    letter = round(min(_LARGEST, max(_SMALLEST, min(cell) * _LETTER)))
    font, gap = ImageFont.load_default(letter), max(2, letter // 3)
    left = 0
    if grid.y.field:
        widest = max(font.getlength(line) for label in grid.y.labels for line in label.split("\n"))
        left = min(round(widest), max(cell[0], 6 * letter)) + 2 * gap
    top = max(_height(wrap(label, font, cell[0]), font) for label in grid.x.labels) + 2 * gap if grid.x.field else 0
    sheet = left + len(grid.x.values) * (cell[0] + gap)
    title = max(_height(wrap(label, font, sheet), font) for label in grid.z.labels) + 2 * gap if grid.z.field else 0
    return _Plan(cell, top, left, title, gap, font)


def _write_labels(pen: ImageDraw.ImageDraw, plan: _Plan, grid: Layout, width: int) -> None:
    rows = len(grid.y.values)
    for z, title in enumerate(grid.z.labels):
        top = plan.corner(0, 0, z, rows)[1]
        above = top - plan.gap - plan.top
        _write(pen, plan.font, wrap(title, plan.font, width), (width / 2, above - plan.title / 2))
        for x, label in enumerate(grid.x.labels):
            middle = plan.corner(x, 0, z, rows)[0] + plan.cell[0] / 2
            _write(pen, plan.font, wrap(label, plan.font, plan.cell[0]), (middle, above + plan.top / 2))
        for y, label in enumerate(grid.y.labels):
            middle = plan.corner(0, y, z, rows)[1] + plan.cell[1] / 2
            _write(pen, plan.font, wrap(label, plan.font, plan.left - 2 * plan.gap), (plan.left / 2, middle))


def _write(pen: ImageDraw.ImageDraw, font: Font, text: str, middle: tuple[float, float]) -> None:
    if text:
        pen.multiline_text(middle, text, fill=_INK, font=font, anchor="mm", align="center")


def _height(text: str, font: Font) -> int:
    pen = ImageDraw.Draw(Image.new("1", (1, 1)))
    box = pen.multiline_textbbox((0, 0), text or " ", font=font)
    return round(box[3])


def wrap(text: str, font: Font, width: float) -> str:
    """The text in lines of at most ``width`` pixels; a word that is longer is broken."""
    lines: list[str] = []
    for given in text.split("\n"):
        line = ""
        for word in given.split(" "):
            joined = f"{line} {word}" if line else word
            if font.getlength(joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            *full, line = _broken(word, font, width)
            lines += full
        lines.append(line)
    return "\n".join(lines)


def _broken(word: str, font: Font, width: float) -> list[str]:
    pieces, piece = [], ""
    for letter in word:
        if piece and font.getlength(piece + letter) > width:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece]

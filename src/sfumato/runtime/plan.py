"""What a picture takes in memory, and how to make it fit: a pure function from facts and wishes to a plan with reasons.

Imports no torch. The coefficients are measured: the peak of a process that draws with Stable Diffusion 1.5 on a CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sfumato.errors import DeviceError, OutOfMemoryError, nearest
from sfumato.runtime.formats import Formats

#: From the fastest to the smallest; ``auto`` takes the first that fits, on a CPU of all but the fastest.
RUNGS = ("max_speed", "balanced", "low", "minimal")
WISHES = ("auto", *RUNGS)
#: Python with torch and diffusers' networks, before there is a model.
BASE = 290_000_000
#: What reading a model takes beside its weights: mapped windows of its file, and tensors between two formats. Packed
#: weights are mapped where they lie, and read when they are used.
READING = 250_000_000
#: What the kernels keep for themselves while a network runs, whatever the picture's size; the last two rungs let the
#: allocator keep nothing.
KERNELS: Mapping[str, int] = {
    "max_speed": 200_000_000,
    "balanced": 200_000_000,
    "low": 100_000_000,
    "minimal": 100_000_000,
}
#: Numbers that the networks hold at once, by width of their first level, for each latent cell and each pixel.
UNET_NUMBERS, VAE_NUMBERS = 15, 5
#: Cells along a side of a tile of the latents, and the share of it that tiles have in common.
TILES: Mapping[str, int] = {"max_speed": 0, "balanced": 0, "low": 32, "minimal": 24}
OVERLAP = 0.25
#: Of the memory that is free, what a plan may take.
SHARE = 0.9
#: T5, of those models that have it, apart from the other text encoders: it is larger than all other networks.
NETWORKS = ("text_encoder", "t5", "unet", "vae")
RELEASED: Mapping[str, tuple[str, ...]] = {
    "max_speed": (),
    "balanced": ("text_encoder", "vae"),
    "low": ("text_encoder", "t5", "vae"),
    "minimal": ("text_encoder", "t5", "vae"),
}
#: Networks whose weights stay in the model's file, and are in memory layer by layer while they are used. Packed ones
#: and those of 8 bits are in memory as they are, and out of it while they are not used if they are among the released.
STREAMED: Mapping[str, tuple[str, ...]] = {
    "max_speed": (),
    "balanced": ("text_encoder", "t5", "vae"),
    "low": NETWORKS,
    "minimal": NETWORKS,
}
#: What of a streamed network is in memory all the same: the share of its small tensors, and a window of the file.
SMALL = 0.01
WINDOW = 65_000_000
#: Bytes of a number of 8 bits, with its channel's scale and with the tensors that are too small to be packed.
INT8 = 1.01
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Sizes:
    """What a model's header says, and the widths that its activations have.

    Attributes:
        numbers: by network, those that are kept in the format of the computation.
        packed: bytes by network of those that stay as they are stored.
        unet_width: channels of the UNet's first level. vae_width: of the decoder's last.
        factor: pixels along a latent cell.
    """

    numbers: Mapping[str, int]
    packed: Mapping[str, int] = field(default_factory=dict)
    unet_width: int = 320
    vae_width: int = 128
    factor: int = 8

    def bytes_of(self, part: str, width: float) -> int:
        """A network's weights in memory, at ``width`` bytes a number that is not packed."""
        return int(self.numbers.get(part, 0) * width) + self.packed.get(part, 0)

    def beside(self, other: Sizes) -> Sizes:
        """Both models in memory at once; they draw one after the other."""
        numbers, packed = Counter(self.numbers), Counter(self.packed)
        numbers.update(other.numbers)
        packed.update(other.packed)
        width = max(self.unet_width, other.unet_width)
        return replace(self, numbers=numbers, packed=packed, unet_width=width)


@dataclass(frozen=True)
class Ask:
    """The picture: size in pixels, and how many at once."""

    width: int
    height: int
    batch: int = 1


@dataclass(frozen=True)
class Plan:
    """How to draw a picture in the memory that there is.

    Attributes:
        rung: one of :data:`RUNGS`. streamed: networks whose weights are read from the file at every use.
        released: others that are out of memory while they are not used.
        tile: cells along a side of a tile to decode, 0 for the whole.
        peak: forecast, in bytes. stages: forecast by stage. reasons: a sentence for each choice.
    """

    rung: str
    formats: Formats
    released: tuple[str, ...]
    streamed: tuple[str, ...]
    tile: int
    peak: int
    stages: Mapping[str, int]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Outlook:
    """Whether a picture can be drawn in the memory that there is.

    Attributes:
        plan: the one that fits, or the smallest that the wish allows.
        room: bytes that a plan may take.
        nearest: where it does not fit, the rung and the picture that do; None if nothing does.
    """

    plan: Plan
    room: int
    nearest: tuple[str, Ask] | None = None

    @property
    def fits(self) -> bool:
        """Whether the plan does."""
        return self.plan.peak <= self.room


def outlook(sizes: Sizes, ask: Ask, formats: Formats, free: int, wish: str = "auto", *, device: str = "cpu") -> Outlook:
    """The plan for the wish, for ``auto`` the first one that fits ``free`` bytes; and if none does, what would.

    ``device``: its kind. On a CPU, weights that stay in the file cost far less than a step; elsewhere they have to be
    copied to the device.
    """
    room = int(free * SHARE)
    automatic = RUNGS[1:] if device == "cpu" else RUNGS
    tried = [_rung(name, sizes, ask, formats) for name in (automatic if wish == "auto" else (wish,))]
    chosen = next((one for one in tried if one.peak <= room), None)
    if chosen is not None:
        return Outlook(chosen, room)
    return Outlook(tried[-1], room, _nearest(sizes, ask, formats, room, tried[-1]))


def plan(sizes: Sizes, ask: Ask, formats: Formats, free: int, wish: str = "auto", *, device: str = "cpu") -> Plan:
    """The plan for the wish; for ``auto`` the first one that fits ``free`` bytes: see :func:`outlook`.

    Raises:
        OutOfMemoryError: it does not fit; the message says what does.
    """
    seen = outlook(sizes, ask, formats, free, wish, device=device)
    if not seen.fits:
        raise OutOfMemoryError(_refusal(ask, formats, seen))
    return seen.plan


def check_wish(wish: str) -> str:
    """The wish, if it is one. Raises DeviceError for an unknown one, with the nearest."""
    if wish not in WISHES:
        raise DeviceError(f"unknown memory {wish!r}; {nearest(wish, WISHES) or 'choose ' + ', '.join(WISHES)}")
    return wish


def step_down(rung: str) -> str | None:
    """The next smaller rung, or None below the last.

    >>> step_down("balanced"), step_down("minimal")
    ('low', None)
    """
    return RUNGS[RUNGS.index(rung) + 1] if rung != RUNGS[-1] else None


def _rung(name: str, sizes: Sizes, ask: Ask, formats: Formats) -> Plan:
    stays = () if formats.int8 else STREAMED[name]
    streamed = tuple(p for p in stays if sizes.numbers.get(p) and not sizes.packed.get(p))
    released = tuple(p for p in RELEASED[name] if p not in streamed and sizes.bytes_of(p, 1))
    tile = _tile(TILES[name], sizes, ask)
    stages = _stages(name, sizes, ask, formats, released, streamed, tile)
    reasons = [f"{formats.dtype} for text encoder and UNet, {formats.vae_dtype} for the autoencoder"]
    reasons += ["weights of 8 bits, unpacked layer by layer"] * formats.int8
    reasons += [f"out of memory while not used: {', '.join(released)}"] * bool(released)
    reasons += [f"decoded in tiles of {tile * sizes.factor} pixels"] * bool(tile)
    reasons += [f"read from the file at every use, layer by layer: {', '.join(streamed)}"] * bool(streamed)
    return Plan(name, formats, released, streamed, tile, max(stages.values()), stages, tuple(reasons))


def _tile(cells: int, sizes: Sizes, ask: Ask) -> int:
    """Cells of a tile; 0 where the whole picture is no larger than one."""
    return cells if cells and max(ask.width, ask.height) > cells * sizes.factor else 0


def _stages(
    rung: str,
    sizes: Sizes,
    ask: Ask,
    formats: Formats,
    released: tuple[str, ...],
    streamed: tuple[str, ...],
    tile: int,
) -> dict[str, int]:
    """Bytes at the peak of each stage."""
    width, vae_width = _BYTES[formats.dtype], _BYTES[formats.vae_dtype]
    widths = {part: INT8 if formats.int8 else vae_width if part == "vae" else width for part in NETWORKS}
    held = {part: sizes.bytes_of(part, widths[part]) for part in NETWORKS}
    window = min(WINDOW, max((held[part] for part in streamed), default=0))
    held |= {part: int(held[part] * SMALL) for part in streamed}
    read = sum(taken - sizes.packed.get(part, 0) for part, taken in held.items())
    working = window + KERNELS[rung]
    kept = BASE + sum(taken for part, taken in held.items() if part not in released)
    cells = ask.width * ask.height / sizes.factor**2
    pixels = (tile * sizes.factor) ** 2 if tile else ask.width * ask.height
    back = {part: held[part] if part in released else 0 for part in NETWORKS}
    pictures = 12 * ask.width * ask.height * (2 if tile else 1)
    return {
        "load": BASE + read + READING,
        "encode": kept + back["text_encoder"] + back["t5"] + window,
        "sample": kept + working + int(2 * ask.batch * cells * UNET_NUMBERS * sizes.unet_width * width),
        "decode": kept + back["vae"] + working + int(pixels * VAE_NUMBERS * sizes.vae_width * vae_width) + pictures,
    }


def _nearest(sizes: Sizes, ask: Ask, formats: Formats, room: int, least: Plan) -> tuple[str, Ask] | None:
    """What does fit: a smaller rung, one picture at a time, a smaller size."""
    for name in RUNGS[RUNGS.index(least.rung) + 1 :]:
        if _rung(name, sizes, ask, formats).peak <= room:
            return name, ask
    single, rung = replace(ask, batch=1), RUNGS[-1]
    if ask.batch > 1 and _rung(rung, sizes, single, formats).peak <= room:
        return rung, single
    for percent in range(95, 4, -5):
        step = 8 * sizes.factor
        width, height = (max(step, int(side * percent / 100) // step * step) for side in (ask.width, ask.height))
        smaller = replace(single, width=width, height=height)
        if _rung(rung, sizes, smaller, formats).peak <= room:
            return rung, smaller
    return None


def _refusal(ask: Ask, formats: Formats, seen: Outlook) -> str:
    """What does not fit, and the nearest that does."""
    said = (
        f"{ask.batch} of {ask.width}x{ask.height} with --memory {seen.plan.rung} needs {seen.plan.peak / 1e9:.1f} GB"
        f" and {seen.room / 1e9:.1f} GB are free"
    )
    if seen.nearest is None:
        if formats.dtype == "float32":
            return f"{said}; try --precision bf16, a smaller model, or close other programs"
        return f"{said}; take a smaller model, or close other programs"
    rung, fitting = seen.nearest
    flags = [f"--batch_size {fitting.batch}"] * (fitting.batch != ask.batch)
    if (fitting.width, fitting.height) != (ask.width, ask.height):
        flags.append(f"--resolution {fitting.width}x{fitting.height}")
    return f"{said}; {' '.join((*flags, f'--memory {rung}'))} fits"

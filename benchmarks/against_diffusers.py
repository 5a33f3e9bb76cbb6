"""Our pictures against diffusers', in float32 on the same random weights of every family's published size.

    python benchmarks/against_diffusers.py --output /tmp/against --family sd1 sdxl

makes the model as a diffusers folder in float16, as ``.safetensors``, ``.ckpt`` and ``.gguf`` of the same numbers, and
draws with diffusers from the folder and with Sfumato from each of the four. It prints a line for each: the mean and the
greatest difference of the 8-bit pictures in levels of 255, and of ours the deviation of its levels (one of no contents
has 0) and the share of them that are black or white. It fails if a mean is a level or more. Without ``--family`` it
goes through all.

Each model is made, and each picture drawn, in a process of its own, so that one model is in memory at a time; its files
are deleted after it, if ``--keep`` does not say otherwise. Stable Diffusion XL takes 28 GB of disk and 15 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import torch
from full_size import KINDS, Kind
from PIL import Image

FORMATS = ("folder", "safetensors", "ckpt", "gguf")
SEED, SCALE, IMAGE_SCALE = 5, 5.0, 1.7
WORDS = {"prompt": "a lighthouse at dusk, oil painting", "negative_prompt": "blurry"}
#: Levels of 255.
MOST = 1.0


@dataclass(frozen=True)
class Row:
    """What a picture of ours came to; see the module's description."""

    family: str
    file: str
    mean: float
    most: float
    deviation: float
    clipped: float
    seconds: float


def picture(size: int) -> tuple[Image.Image, Image.Image]:
    """What models that take a picture are given, and the mask of its part that is drawn anew."""
    ramp = Image.linear_gradient("L").resize((size, size))
    mask = Image.new("L", (size, size))
    mask.paste(255, (0, 0, size // 2, size))
    return Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180))), mask


def make(name: str, folder: Path) -> None:
    """Write the model in all formats."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    kind = KINDS[name]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    model = kind.make()
    torch.set_default_dtype(torch.float32)
    made = full_size.models.pipeline(model, folder / "words", kind.prediction, image=name == "sdxl-refiner")
    if kind.beside:
        made = _beside(kind, model.family).from_pipe(made, torch_dtype=torch.float16)
    made.save_pretrained(folder / "folder")
    said = {"modelspec.prediction_type": kind.prediction.removesuffix("_prediction")}
    file = full_size.models.write_file(folder / "file.safetensors", model, said)
    del model, made
    _write_ckpt(file, kind)
    _write_gguf(file)


def _beside(kind: Kind, family: str) -> Any:
    import diffusers

    what = {"inpaint": "Inpaint", "edit": "InstructPix2Pix"}[kind.beside]
    return getattr(diffusers, f"StableDiffusion{'XL' if family == 'sdxl' else ''}{what}Pipeline")


def _write_ckpt(file: Path, kind: Kind) -> None:
    """The same as a pickle, which has no place for what the UNet predicts: that lies beside it, as it was published."""
    from safetensors.torch import load_file

    torch.save({"state_dict": load_file(file), "global_step": 1}, file.with_suffix(".ckpt"))
    said = {"model": {"params": {"parameterization": "v" if kind.prediction == "v_prediction" else "eps"}}}
    file.with_suffix(".yaml").write_text(json.dumps(said), encoding="utf-8")


def _write_gguf(file: Path) -> None:
    """As a user makes it."""
    flags = ["--model_path", str(file), "--output_path", str(file.with_suffix(".gguf")), "--type", "f16"]
    subprocess.run([sys.executable, "-m", "sfumato", "quantize", *flags], check=True, capture_output=True)


def draw_theirs(name: str, folder: Path, size: int, steps: int, threads: int | None) -> None:
    """diffusers' picture, to ``theirs.npy``."""
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    from sfumato.runtime.rng import BatchNoise
    from sfumato.runtime.threads import set_threads

    set_threads(threads)
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name.startswith("sd3") else {}
    pipeline = DiffusionPipeline.from_pretrained(folder / "folder", torch_dtype=torch.float32, **absent)
    pipeline.set_progress_bar_config(disable=True)
    flow = "transformer" in pipeline.components
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    shape = pipeline.vae.config.latent_channels, size // factor, size // factor
    more: dict[str, Any] = {"height": size, "width": size}
    seen, mask = picture(size)
    if KINDS[name].beside:  # theirs draw from what the autoencoder says of the picture; we take its mean
        sys.modules[type(pipeline).__module__].retrieve_latents = lambda coded, **_: coded.latent_dist.mode()
    if KINDS[name].beside == "inpaint":
        more |= {"image": seen, "mask_image": mask, "strength": 1.0}
    elif KINDS[name].beside == "edit":
        size_given = more if "text_encoder_2" in pipeline.components else {}
        more = {**size_given, "image": seen, "image_guidance_scale": IMAGE_SCALE}
    elif name == "sdxl-refiner":
        more = {"image": torch.zeros(1, 3, size, size), "strength": 1.0}
    elif flow:
        more["sigmas"] = np.linspace(1, 1e-3, steps).tolist()
    image = pipeline(
        **WORDS, latents=BatchNoise((SEED,), shape).initial(), num_inference_steps=steps, guidance_scale=SCALE,
        output_type="np", **more,
    ).images[0]  # fmt: skip
    np.save(folder / "theirs.npy", np.round(image * 255))


def draw_ours(name: str, folder: Path, size: int, steps: int, threads: int | None, form: str) -> None:
    """Our picture, to ``ours.npy``."""
    from sfumato import InitImage, Mask, Studio, Txt2ImgRequest

    init, (seen, mask) = None, picture(size)
    if KINDS[name].beside:
        part = Mask(picture=mask, blur=0) if KINDS[name].beside == "inpaint" else None
        init = InitImage(picture=seen, denoising_strength=1.0, mask=part, image_cfg_scale=IMAGE_SCALE)
    studio = Studio(
        folder / ("folder" if form == "folder" else f"file.{form}"), device="cpu", precision="full", threads=threads
    )
    sampler = "Euler" if name.startswith("sd3") else "DDIM"
    request = Txt2ImgRequest(
        **WORDS, seed=SEED, steps=steps, width=size, height=size, cfg_scale=SCALE, sampler=sampler, init=init
    )
    np.save(folder / "ours.npy", np.asarray(studio.generate(request).images[0], dtype=float))


def compare(name: str, form: str, folder: Path, size: int, seconds: float) -> Row:
    """Of models that redraw a part, that part alone."""
    ours, theirs = np.load(folder / "ours.npy"), np.load(folder / "theirs.npy")
    if KINDS[name].beside == "inpaint":
        drawn = np.asarray(picture(size)[1]) > 0
        ours, theirs = ours[drawn], theirs[drawn]
    apart = np.abs(ours - theirs)
    clipped = np.isin(ours, (0, 255)).mean()
    numbers = (float(one) for one in (apart.mean(), apart.max(), ours.std(), clipped))
    return Row(name, form, *(round(one, 4) for one in numbers), round(seconds, 1))


def alone(do: Callable[..., None], *given: Any) -> float:
    """Call it in a process of its own; says how many seconds it took."""
    start = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=do, args=given)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{do.__name__} {given[0]} ended with {process.exitcode}")
    return time.perf_counter() - start


def rows(name: str, wishes: argparse.Namespace) -> Iterator[Row]:
    """One family, from nothing to nothing."""
    folder = wishes.output / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if not (folder / "file.safetensors").exists():
            alone(make, name, folder)
        how = wishes.size, wishes.steps, wishes.threads
        alone(draw_theirs, name, folder, *how)
        for form in FORMATS:
            seconds = alone(draw_ours, name, folder, *how, form)
            yield compare(name, form, folder, wishes.size, seconds)
    finally:
        if not wishes.keep:
            shutil.rmtree(folder)


def said(row: Row) -> str:
    """A line of the table."""
    line = f"{row.family:<14}{row.file:<13}{row.mean:>8.4f}{row.most:>8.2f}{row.deviation:>11.1f}"
    return f"{line}{row.clipped:>9.1%}{row.seconds:>9.1f}"


def main() -> None:
    """Prints a line for each family and format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the models; up to 28 GB")
    parser.add_argument(
        "--family", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME", help=", ".join(KINDS)
    )
    parser.add_argument("--size", type=int, default=256, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, help="processor threads")
    parser.add_argument("--keep", action="store_true", help="leave the models there, and use those that are")
    parser.add_argument("--json", action="store_true", help="print an object a line")
    wishes = parser.parse_args()
    apart = False
    if not wishes.json:
        print(f"{'family':<14}{'file':<13}{'mean':>8}{'most':>8}{'deviation':>11}{'clipped':>9}{'seconds':>9}")
    for name in wishes.family:
        for row in rows(name, wishes):
            apart = apart or not row.mean < MOST
            line = f"{row.family:<14}{row.file:<13}{row.mean:>8.4f}{row.most:>8.2f}{row.deviation:>11.1f}"
            print(
                json.dumps(asdict(row)) if wishes.json else f"{line}{row.clipped:>9.1%}{row.seconds:>9.1f}", flush=True
            )
    if apart:
        raise SystemExit("some pictures are not diffusers'")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

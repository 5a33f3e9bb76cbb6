"""Time one UNet step of Stable Diffusion 1.5 at 512x512, batch 2: ours, diffusers and OpenVINO, in one run.

    python benchmarks/make_sd15.py --output /tmp/sd15
    python benchmarks/unet_step.py --weights /tmp/sd15

All run on the same random weights, inputs and threads, one after the other in each round, so that what else the
machine does falls on all alike. Printed are medians, the ratios, and how far each result is from float32's.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from make_sd15 import NAME
from torch import Tensor

from sfumato.families import sd1
from sfumato.runtime import optimize
from sfumato.runtime.device import probe
from sfumato.runtime.threads import set_threads

Step = Callable[[], Tensor]
OURS, STOCK_F32, STOCK_BF16, OPENVINO = "ours", "diffusers float32", "diffusers bfloat16", "OpenVINO bfloat16"
#: What the house asks of itself: ours over each, at most.
TARGETS = {STOCK_F32: 0.45, STOCK_BF16: 0.80}


def inputs(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents (2, 4, side/8, side/8), times (2,) and words (2, 77, 768)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, side // 8, side // 8, generator=generator)
    return x, torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768, generator=generator)


def torch_step(unet: torch.nn.Module, dtype: torch.dtype, side: int) -> Step:
    """A step of a UNet in torch."""
    x, t, words = inputs(side)
    x, words = x.to(dtype), words.to(dtype)
    return lambda: unet(x, t, words, return_dict=False)[0].float()


def ours(folder: Path, side: int) -> Step:
    """As a picture is drawn: loaded from the LDM file and prepared for the device."""
    networks = sd1.load(folder / f"{NAME}.safetensors", torch.bfloat16, torch.bfloat16, torch.device("cpu"))
    optimize.prepare(networks.unet, networks.vae, probe("cpu"), networks.unet.dtype)
    return torch_step(networks.unet, torch.bfloat16, side)


def stock(folder: Path, dtype: torch.dtype, side: int) -> Step:
    """Diffusers as it comes."""
    unet = UNet2DConditionModel.from_pretrained(
        folder / NAME, subfolder="unet", torch_dtype=dtype, local_files_only=True
    )
    return torch_step(unet.eval(), dtype, side)


def openvino_step(folder: Path, side: int) -> Step:
    """The same network converted for OpenVINO, computing in bfloat16."""
    import openvino

    x, t, words = inputs(side)
    unet = UNet2DConditionModel.from_pretrained(folder / NAME, subfolder="unet", torch_dtype=torch.float32)

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = unet.eval()

        def forward(self, x: Tensor, t: Tensor, words: Tensor) -> Tensor:
            return self.unet(x, t, words, return_dict=False)[0]

    converted = openvino.convert_model(Plain(), example_input=(x, t, words), input=[x.shape, t.shape, words.shape])
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(converted, "CPU", settings)
    arrays = [value.numpy() for value in (x, t, words)]
    return lambda: torch.from_numpy(compiled(arrays)[0].copy())


def contestants(folder: Path, side: int, names: list[str]) -> dict[str, Step]:
    """The steps by name; OpenVINO only if it is installed."""
    makers: Mapping[str, Callable[[], Step]] = {
        OURS: lambda: ours(folder, side),
        STOCK_F32: lambda: stock(folder, torch.float32, side),
        STOCK_BF16: lambda: stock(folder, torch.bfloat16, side),
        OPENVINO: lambda: openvino_step(folder, side),
    }
    made = {}
    for name in names:
        if name == OPENVINO and importlib.util.find_spec("openvino") is None:
            print("OpenVINO is not installed, so it is left out (pip install openvino)")
            continue
        made[name] = makers[name]()
        gc.collect()
    return made


def timed(steps: Mapping[str, Step], rounds: int) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds by name, interleaved, after one untimed step of each; and each one's result."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        results = {name: step() for name, step in steps.items()}
        for _ in range(rounds):
            for name, step in steps.items():
                began = time.perf_counter()
                step()
                seconds[name].append(time.perf_counter() - began)
    return seconds, results


def report(seconds: Mapping[str, list[float]], results: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """The medians, ours over each, and the error relative to float32's result."""
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    truth = results.get(STOCK_F32)
    table = {}
    for name, median in medians.items():
        row = {"median_seconds": median, "best_seconds": min(seconds[name])}
        if OURS in medians:
            row["ours_over_it"] = medians[OURS] / median
        if truth is not None:
            row["error"] = float((results[name] - truth).norm() / truth.norm())
        table[name] = row
    return table


def show(table: Mapping[str, Mapping[str, float]]) -> None:
    """The table for people."""
    print(f"{'':20} {'median s':>9} {'best s':>9} {'ours/it':>9} {'target':>9} {'error':>9}")
    for name, row in table.items():
        target = f"{TARGETS[name]:.2f}" if name in TARGETS else ""
        ratio = row.get("ours_over_it", float("nan"))
        error = row.get("error", float("nan"))
        print(
            f"{name:20} {row['median_seconds']:9.2f} {row['best_seconds']:9.2f} {ratio:9.2f} {target:>9} {error:9.4f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [OURS, STOCK_F32, STOCK_BF16, OPENVINO]
    parser.add_argument("--weights", type=Path, required=True, help="what make_sd15.py wrote")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=512, help="of the picture, in pixels")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    wishes = parser.parse_args()
    set_threads(wishes.threads)
    facts = probe("cpu")
    seconds, results = timed(contestants(wishes.weights, wishes.side, wishes.only), wishes.rounds)
    table = report(seconds, results)
    machine = {"cpu": facts.name, "threads": torch.get_num_threads(), "torch": torch.__version__, "side": wishes.side}
    if wishes.json:
        print(json.dumps({**machine, "features": facts.cpu_features, "steps": table}))
        return
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    show(table)


if __name__ == "__main__":
    main()

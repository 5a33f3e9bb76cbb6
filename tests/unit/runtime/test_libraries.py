"""Our copy of diffusers: what importing it leaves out, and that diffusers itself stays whole."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import sys
from sfumato.runtime import libraries
from sfumato.engine import studio
left_out = ("accelerate", "diffusers", "peft", "scipy", "torch._dynamo", "transformers")
print([name for name in left_out if name in sys.modules])
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
print(StableDiffusionPipeline.__module__)
print(UNet2DConditionModel is not libraries.UNet2DConditionModel, torch.compiler.disable.__module__)
"""


def test_the_engine_imports_what_it_needs_and_diffusers_stays_whole() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _CODE], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "[]",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "True torch.compiler",
    ]


def test_a_package_that_is_imported_later_runs_when_it_is_asked() -> None:
    code = """
import sys
from sfumato.runtime import libraries
package = sys.modules["_sfumato_diffusers.models.unets"]
print("_sfumato_diffusers.models.unets.unet_1d" in sys.modules, hasattr(package, "__all__"))
print(package.UNet2DConditionModel is libraries.UNet2DConditionModel, hasattr(package, "none_such"))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["False False", "True False"]

"""Makes k_diffusion.npz: what the k-diffusion package's samplers give on an analytic model. Not run by the tests.

    pip install --no-deps --target /tmp/k_diffusion k-diffusion==0.1.1.post1
    python tests/golden/make_k_diffusion.py /tmp/k_diffusion

needs torch, scipy, pillow, safetensors and tqdm beside it. Only three modules of the package are loaded; the heavy
packages that they import and do not use here are replaced by empty modules. The samplers' numbers are float64.

Keys of the file: ``<ramp>/<case>`` is the final latent of a sampler, beside ``<ramp>/sigmas``, ``/noise`` and
``/start``; ``schedule/<name>`` are noise schedules of 10 steps over Stable Diffusion's 1,000 times.

The model is the exact denoiser of data from two Gaussians, N(+1, 0.25) and N(-1, 0.25), in every value alone. Noise is
frozen: draw k of step i is ``noise[i, k]``. Where the samplers take a Brownian path, the one for the first part of a
step is draw 0 and the one for the whole step joins draw 0 and draw 1, each weighed by the root of its length in sigma.
"""

from __future__ import annotations

import importlib
import math
import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
STUBS = ("torchdiffeq", "torchsde", "torchvision", "torchvision.transforms", "torchvision.transforms.functional")
SHAPE = (2, 2, 3, 3)
MEAN, DEVIATION = 1.0, 0.5


def load(folder: str) -> types.ModuleType:
    """``k_diffusion.sampling``, without running the package's ``__init__``."""
    for name in STUBS:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchdiffeq"].odeint = None
    sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(Path(folder) / "k_diffusion")]
    sys.modules["k_diffusion"] = package
    return importlib.import_module("k_diffusion.sampling")


def schedules(sampling: types.ModuleType) -> dict[str, torch.Tensor]:
    """The package's noise schedules, and its map from noise level to time."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    discrete = importlib.import_module("k_diffusion.external").DiscreteSchedule(((1 - alphas) / alphas) ** 0.5, False)
    ends = (float(discrete.sigma_min), float(discrete.sigma_max))
    levels = torch.tensor([0.01, 0.0292, 0.05, 0.3, 1.0, 7.7, 14.5, 20.0], dtype=torch.float64)
    return {
        "schedule/uniform": discrete.get_sigmas(10),
        "schedule/karras": sampling.get_sigmas_karras(10, *ends),
        "schedule/exponential": sampling.get_sigmas_exponential(10, *ends),
        "schedule/polyexponential": sampling.get_sigmas_polyexponential(10, *ends),
        "schedule/levels": levels,
        "schedule/times": discrete.sigma_to_t(levels),
    }


def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """E[x0 | x] for the two Gaussians."""
    noise, data = sigma.view(-1, 1, 1, 1) ** 2, DEVIATION**2
    return (data * x + noise * MEAN * torch.tanh(MEAN * x / (data + noise))) / (data + noise)


class FrozenNoise:
    """A k-diffusion noise sampler over frozen draws; knows the step by its starting level."""

    def __init__(self, sigmas: torch.Tensor, noise: torch.Tensor) -> None:
        self.sigmas, self.noise = sigmas, noise

    def __call__(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        i = int((self.sigmas - sigma).abs().argmin())
        if self.middle is None or abs(float(sigma_next) - self.middle(i)) < 1e-9:
            return self.noise[i, 0]
        first, rest = float(sigma) - self.middle(i), self.middle(i) - float(sigma_next)
        whole = self.noise[i, 0] * math.sqrt(first) + self.noise[i, 1] * math.sqrt(rest)
        return whole / math.sqrt(first + rest)

    middle = None


class BrownianNoise(FrozenNoise):
    """The same where a step asks first for the noise to its geometric middle."""

    def middle(self, i: int) -> float:
        return math.sqrt(float(self.sigmas[i]) * float(self.sigmas[i + 1]))


class Torch:
    """Stands in for torch inside the sampling module: ``randn_like`` gives the frozen draw 0, step after step."""

    def __init__(self, noise: torch.Tensor) -> None:
        self.left = iter(noise[:, 0])

    def __getattr__(self, name: str) -> object:
        return getattr(torch, name)

    def randn_like(self, _: torch.Tensor) -> torch.Tensor:
        return next(self.left)


#: Key in the file: function, how it gets noise, further arguments.
CASES = {
    "euler": ("sample_euler", None, {}),
    "euler_churn": ("sample_euler", "randn", {"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.003}),
    "euler_a": ("sample_euler_ancestral", FrozenNoise, {}),
    "euler_a_half": ("sample_euler_ancestral", FrozenNoise, {"eta": 0.5}),
    "heun": ("sample_heun", None, {}),
    "heun_churn": ("sample_heun", "randn", {"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.003}),
    "dpm2": ("sample_dpm_2", None, {}),
    "dpm2_churn": ("sample_dpm_2", "randn", {"s_churn": 3.0}),
    "dpm2_a": ("sample_dpm_2_ancestral", FrozenNoise, {}),
    "lms": ("sample_lms", None, {}),
    "dpmpp_2m": ("sample_dpmpp_2m", None, {}),
    "dpmpp_2m_sde": ("sample_dpmpp_2m_sde", FrozenNoise, {}),
    "dpmpp_2m_sde_half": ("sample_dpmpp_2m_sde", FrozenNoise, {"eta": 0.5}),
    "dpmpp_2m_sde_heun": ("sample_dpmpp_2m_sde", FrozenNoise, {"solver_type": "heun"}),
    "dpmpp_3m_sde": ("sample_dpmpp_3m_sde", FrozenNoise, {}),
    "dpmpp_3m_sde_zero": ("sample_dpmpp_3m_sde", FrozenNoise, {"eta": 0.0}),
    "dpmpp_sde": ("sample_dpmpp_sde", BrownianNoise, {}),
    "dpmpp_sde_half": ("sample_dpmpp_sde", BrownianNoise, {"eta": 0.5}),
    "dpmpp_2s_a": ("sample_dpmpp_2s_ancestral", FrozenNoise, {}),
    "dpmpp_2s_a_zero": ("sample_dpmpp_2s_ancestral", FrozenNoise, {"eta": 0.0}),
}


def main(folder: str) -> None:
    """Run every case on two ramps: 12 Karras levels down to 0, and 18 exponential ones that end above it."""
    sampling = load(folder)
    draws = torch.Generator().manual_seed(20221)
    ramps = {
        "zero": sampling.get_sigmas_karras(12, 0.0292, 14.6146).double(),
        "above": sampling.get_sigmas_exponential(18, 0.0292, 14.6146).double()[:-1],
    }
    out = schedules(sampling)
    for ramp, sigmas in ramps.items():
        noise = torch.randn((len(sigmas), 2, *SHAPE), generator=draws, dtype=torch.float64)
        start = torch.randn(SHAPE, generator=draws, dtype=torch.float64) * sigmas[0]
        out |= {f"{ramp}/sigmas": sigmas, f"{ramp}/noise": noise, f"{ramp}/start": start}
        for case, (function, how, extra) in CASES.items():
            sampling.torch = Torch(noise)
            given = {} if how in (None, "randn") else {"noise_sampler": how(sigmas, noise)}
            end = getattr(sampling, function)(model, start, sigmas, disable=True, **given, **extra)
            out[f"{ramp}/{case}"] = end
    np.savez_compressed(HERE / "k_diffusion.npz", **{key: np.asarray(value) for key, value in out.items()})


if __name__ == "__main__":
    main(sys.argv[1])

"""All solvers, one in each module, and the way to make one by its key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sfumato.errors import RequestError, nearest
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.solvers.base import Noise, Solver, State
from sfumato.sampling.solvers.ddim import Ddim
from sfumato.sampling.solvers.ddpm import Ddpm
from sfumato.sampling.solvers.deis import Deis
from sfumato.sampling.solvers.dpm2 import Dpm2
from sfumato.sampling.solvers.dpm2_a import Dpm2A
from sfumato.sampling.solvers.dpmpp_2m import Dpmpp2M
from sfumato.sampling.solvers.dpmpp_2m_sde import Dpmpp2MSde, Dpmpp2MSdeHeun
from sfumato.sampling.solvers.dpmpp_2s_a import Dpmpp2SA
from sfumato.sampling.solvers.dpmpp_3m_sde import Dpmpp3MSde
from sfumato.sampling.solvers.dpmpp_sde import DpmppSde
from sfumato.sampling.solvers.euler import Euler
from sfumato.sampling.solvers.euler_a import EulerA
from sfumato.sampling.solvers.heun import Heun
from sfumato.sampling.solvers.lcm import Lcm
from sfumato.sampling.solvers.lms import Lms
from sfumato.sampling.solvers.plms import Plms
from sfumato.sampling.solvers.restart import Restart
from sfumato.sampling.solvers.tcd import Tcd
from sfumato.sampling.solvers.unipc import UniPC

__all__ = ["SOLVERS", "Noise", "Solver", "State", "make"]

SOLVERS: Mapping[str, type[Solver]] = {
    "euler": Euler,
    "euler_a": EulerA,
    "heun": Heun,
    "dpm2": Dpm2,
    "dpm2_a": Dpm2A,
    "lms": Lms,
    "dpmpp_2m": Dpmpp2M,
    "dpmpp_2m_sde": Dpmpp2MSde,
    "dpmpp_2m_sde_heun": Dpmpp2MSdeHeun,
    "dpmpp_3m_sde": Dpmpp3MSde,
    "dpmpp_sde": DpmppSde,
    "dpmpp_2s_a": Dpmpp2SA,
    "ddim": Ddim,
    "ddpm": Ddpm,
    "plms": Plms,
    "unipc": UniPC,
    "deis": Deis,
    "lcm": Lcm,
    "tcd": Tcd,
    "restart": Restart,
}


def make(name: str, eta: float | None = None, schedule: NoiseSchedule | None = None) -> Solver:
    """A solver by its key (see :func:`sfumato.sampling.names.resolve`).

    Args:
        eta: how much fresh noise a step gets; ``None`` is the solver's own default. Solvers without such a setting take
            no notice of it, as in the web UI, whose clients send it always.
        schedule: the model's, for the one solver that needs times (TCD).

    Raises:
        RequestError: unknown key, or eta out of 0..1.
    """
    if name not in SOLVERS:
        raise RequestError(f"unknown sampler {name!r}; {nearest(name, SOLVERS) or 'known: ' + ', '.join(SOLVERS)}.")
    if eta is not None and not 0 <= eta <= 1:
        raise RequestError(f"eta is {eta}; give a value from 0 (no fresh noise) to 1.")
    kind: Any = SOLVERS[name]
    wanted = {"eta": eta, "schedule": schedule}
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in wanted.items() if value is not None and key in fields})

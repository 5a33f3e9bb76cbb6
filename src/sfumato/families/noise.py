"""A model's noise, from its facts."""

from __future__ import annotations

from sfumato.families.base import Spec
from sfumato.sampling.noise_schedule import FlowSchedule, NoiseSchedule


def schedule_of(spec: Spec) -> NoiseSchedule:
    """How much noise there is at each of the model's times.

    Raises:
        CheckpointError: the facts give no falling amounts of picture.
    """
    if spec.prediction == "flow":
        return FlowSchedule.shifted(spec.flow_shift, spec.betas[3])
    return NoiseSchedule.from_betas(*spec.betas, zero_snr=spec.zero_snr)

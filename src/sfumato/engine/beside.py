"""What the UNets that redraw a part, or change a picture by words, are given beside the latent: :attr:`Spec.beside`."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.engine import source
from sfumato.engine.surroundings import to_tensor
from sfumato.families.base import Networks
from sfumato.families.decode import encode
from sfumato.families.pixels import to_pixels
from sfumato.imaging import masks
from sfumato.request import InitImage
from sfumato.runtime.finite import check_finite


def channels(networks: Networks, init: InitImage | None, part: masks.Part | None, cells: tuple[int, int]) -> Tensor:
    """What goes beside latents of (h, w) cells, (1, C', h, w) in float32; without a channel for most models.

    For ``"inpaint"`` the mask, 1 where is to be drawn, and the latent of the picture with that part grey (Rombach et
    al. 2022, section 4.5); without a mask all is to be drawn. For ``"edit"`` the picture's latent, not scaled (Brooks
    et al. 2023, "InstructPix2Pix").
    """
    spec = networks.spec
    width, height = cells[1] * spec.latent_factor, cells[0] * spec.latent_factor
    if spec.beside == "inpaint":
        return _around(networks, part, width, height)
    if spec.beside == "edit" and init is not None:
        if part is None:
            latent = source.to_latent(networks, init, width, height)
        else:
            latent = encode(networks, to_pixels(replace(part, size=(width, height)).seen()[0]))
            check_finite(latent, "encoding of the picture", None)
        return latent / spec.scaling_factor + spec.shift_factor
    return torch.zeros(1, 0, *cells, device=networks.device)


def _around(networks: Networks, part: masks.Part | None, width: int, height: int) -> Tensor:
    factor = networks.spec.latent_factor
    pixels, mask = torch.full((1, 3, height, width), 0.5), torch.ones(1, 1, height, width)
    if part is not None:
        picture, grey = replace(part, size=(width, height)).seen()
        mask = (to_tensor(grey) >= 0.5).float()
        pixels = torch.where(mask == 1, 0.5, to_pixels(picture))
    latent = encode(networks, pixels)
    check_finite(latent, "encoding of the picture", None)
    cells = F.interpolate(mask, (height // factor, width // factor)).to(latent.device)
    return torch.cat([cells, latent], dim=1)

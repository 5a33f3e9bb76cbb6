"""Back from packed weights to a plain ``.safetensors`` file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from sfumato.quant.convert import SAID, Source
from sfumato.runtime.atomic import whole_path


def write_plain(source: Source, names: Mapping[str, str], output: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the tensors in ``dtype``; the file appears whole or not at all.

    Raises:
        OutputError: the disk is full or the folder can't be written.
    """
    said = source.header.metadata
    metadata = {key: text for key, text in said.items() if key.startswith(SAID)}
    tensors = {}
    for old, new in names.items():
        tensor = source.get(old)
        tensors[new] = tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor
    with whole_path(output) as path:
        save_file(tensors, path, metadata={**metadata, "format": "pt"})

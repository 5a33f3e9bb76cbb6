"""From a checkpoint to a GGUF file, a tensor at a time: memory stays a small multiple of the largest tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from torch import Tensor

from sfumato.quant import k_quants
from sfumato.quant.rules import Choice, Rule, choose
from sfumato.runtime.atomic import whole_path
from sfumato.weights.gguf_file import ORIGINAL_SHAPE
from sfumato.weights.header import FOLDER_FILE, Header

#: The metadata's number of the type that most tensors have (llama.cpp's ``LLAMA_FTYPE``).
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14, "Q5_K": 16,
               "Q6_K": 18, "BF16": 32}  # fmt: skip
_PLAIN = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
#: Metadata that goes along: what its trainer said of the model, and a folder's other files.
SAID = ("modelspec.", FOLDER_FILE)
#: The version of the quantized formats, which GGUF's specification asks for.
FORMAT_VERSION = 2


class Source(Protocol):
    """Tensors by name."""

    header: Header

    def get(self, name: str) -> Tensor: ...


@dataclass
class Group:
    """What became of the tensors of one part and type: counts, bytes, and the squared error relative to the squares."""

    tensors: int = 0
    numbers: int = 0
    bytes: int = 0
    error: float = 0.0
    squares: float = 0.0

    @property
    def relative_error(self) -> float:
        """The root of the mean squared error over that of the weights."""
        return math.sqrt(self.error / self.squares) if self.squares else 0.0


@dataclass
class Report:
    """Groups by (part of the model, type), and the tensors that did not get the wished type, with the reason."""

    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def bits_per_weight(self) -> float:
        """Of the whole file's tensors."""
        groups = self.groups.values()
        return 8 * sum(g.bytes for g in groups) / max(1, sum(g.numbers for g in groups))


def convert(
    source: Source,
    names: Mapping[str, str],
    output: Path,
    wish: GGMLQuantizationType,
    layout: str,
    architecture: str,
    rules: Sequence[Rule] = (),
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the tensors to a GGUF file, which appears whole or not at all.

    Args:
        names: the source's name of each tensor to its name in the file.
        architecture: ``general.architecture``, as ``sd1``.
        on_tensor: is told how many numbers are done, of how many.

    Raises:
        OutputError: the disk is full or the folder can't be written.
    """
    infos = source.header.tensors
    choices = {old: choose(new, infos[old], wish, layout, rules) for old, new in names.items()}
    report, total = Report(), sum(math.prod(infos[old].shape) for old in names)
    done = 0
    with whole_path(output) as path:
        writer = _start(path, names, choices, source.header, wish, architecture)
        for old, new in names.items():
            writer.write_tensor_data(_packed(source.get(old), choices[old], _group(report, new, choices[old], wish)))
            done += math.prod(infos[old].shape)
            on_tensor(done, total)
        writer.close()
    return report


def _start(
    path: Path, names: Mapping[str, str], choices: Mapping[str, Choice], header: Header,
    wish: GGMLQuantizationType, architecture: str,
) -> GGUFWriter:  # fmt: skip
    """A writer whose header is on disk, with what the source's metadata says of the model."""
    writer = GGUFWriter(path, architecture)
    writer.add_quantization_version(FORMAT_VERSION)
    writer.add_file_type(_FILE_TYPES[wish.name])
    for key, value in header.metadata.items():
        if key.startswith(SAID):
            writer.add_string(key, value)
    for old, new in names.items():
        choice, original = choices[old], header.tensors[old].shape
        if choice.shape != original:
            writer.add_array(ORIGINAL_SHAPE + new, [int(n) for n in original])
        stored = choice.shape or (1,)
        size = nbytes(stored, choice.type)
        if choice.type in _PLAIN:
            writer.add_tensor_info(new, stored, np.dtype(_PLAIN[choice.type]), size)
        else:
            block, width = GGML_QUANT_SIZES[choice.type]
            rows = (*stored[:-1], stored[-1] // block * width)
            writer.add_tensor_info(new, rows, np.dtype(np.uint8), size, choice.type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def nbytes(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    """Bytes of a stored tensor."""
    block, width = GGML_QUANT_SIZES[kind]
    return math.prod(shape) // block * width


def _group(report: Report, name: str, choice: Choice, wish: GGMLQuantizationType) -> Group:
    if choice.type != wish and choice.reason:
        report.reasons[choice.reason] = report.reasons.get(choice.reason, 0) + 1
    return report.groups.setdefault((part_of(name), choice.type.name.lower()), Group())


def part_of(name: str) -> str:
    """The network that a tensor belongs to.

    >>> part_of("first_stage_model.decoder.conv_in.weight")
    'VAE'
    """
    marks = {"first_stage_model.": "VAE", "vae.": "VAE", "cond_stage_model.": "text encoder",
             "text_encoder": "text encoder", "conditioner.": "text encoder"}  # fmt: skip
    return next((part for mark, part in marks.items() if name.startswith(mark)), "UNet")


def _packed(tensor: Tensor, choice: Choice, group: Group) -> np.ndarray:
    """The tensor's bytes in the file; what they lost is added to the group."""
    exact = tensor.to(torch.float32).reshape(choice.shape or (1,)).contiguous().numpy()
    if choice.type in _PLAIN:
        data = exact.astype(_PLAIN[choice.type])
        again = data.astype(np.float32)
    else:
        data = _quantized(exact, choice.type)
        again = dequantize(data, choice.type)
    group.tensors += 1
    group.numbers += exact.size
    group.bytes += data.nbytes
    group.error += float(np.square(exact - again, dtype=np.float64).sum())
    group.squares += float(np.square(exact, dtype=np.float64).sum())
    return data


def _quantized(exact: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """(..., numbers) to (..., bytes): by the gguf package, and by ours what it can only read."""
    if kind.name not in k_quants.KINDS:
        return quantize(exact, kind)
    block, _ = GGML_QUANT_SIZES[kind]
    return k_quants.pack(torch.from_numpy(exact).view(-1, block), kind.name).numpy().reshape(*exact.shape[:-1], -1)

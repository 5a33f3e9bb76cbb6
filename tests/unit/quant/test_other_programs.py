"""GGUF files that other programs wrote: the numbers that those programs read from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

from sfumato.quant.unpack import unpack
from sfumato.weights.blocks import Blocks
from sfumato.weights.gguf_file import GgufSource

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("kind", ["q4_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k"])
def test_stable_diffusion_cpps_files_hold_what_it_reads_itself(kind):
    """Without metadata, with packed norms; written and read by its converter (``make_stable_diffusion_cpp.py``)."""
    packed = GgufSource(GOLDEN / f"stable_diffusion_cpp.{kind}.gguf")
    values = GgufSource(GOLDEN / f"stable_diffusion_cpp.values.{kind}.gguf")
    source = load_file(GOLDEN / "stable_diffusion_cpp.safetensors")

    assert {name for name, info in packed.header.tensors.items() if info.dtype.lower() == kind}
    assert set(packed) == set(values) == set(source)
    for name in packed:
        stored, wanted = packed.stored(name), values.get(name)
        found = unpack(stored, torch.float32) if isinstance(stored, Blocks) else stored
        assert found.shape == packed.get(name).shape == source[name].shape
        assert torch.equal(found, wanted)
        assert torch.equal(packed.get(name).float(), wanted)


def test_comfyuis_reshaped_tensors_get_their_shapes_back(tmp_path):
    """ComfyUI-GGUF packs convolutions in rows of 256 and keeps their shapes in the metadata, as int32."""
    weight = np.random.default_rng(0).normal(size=(32, 16, 3, 3)).astype(np.float32)
    data = quantize(weight.reshape(-1, 256), GGMLQuantizationType.Q5_0)
    writer = GGUFWriter(tmp_path / "unet.gguf", "sd1")
    writer.add_tensor("input_blocks.1.0.in_layers.2.weight", data, raw_dtype=GGMLQuantizationType.Q5_0)
    writer.add_array("comfy.gguf.orig_shape.input_blocks.1.0.in_layers.2.weight", tuple(int(n) for n in weight.shape))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()

    stored = GgufSource(tmp_path / "unet.gguf").stored("input_blocks.1.0.in_layers.2.weight")

    assert isinstance(stored, Blocks)
    assert stored.shape == weight.shape
    wanted = dequantize(data, GGMLQuantizationType.Q5_0).reshape(weight.shape)
    assert np.array_equal(unpack(stored, torch.float32).numpy(), wanted)

"""Models in several files are the same as in one; tiny autoencoders are diffusers'; what fits in part is left out."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder, write_ldm
from family_models import assert_same, make_sd3, make_sdxl, write_file

from sfumato import Studio, Txt2ImgRequest
from sfumato.cli import quantize_main
from sfumato.errors import CheckpointError
from sfumato.families import registry, tiny_vae
from sfumato.families.adapters import Adapters, Wish
from sfumato.families.base import Spec
from sfumato.families.registry import Parts
from sfumato.weights.keymaps import ldm
from sfumato.weights.sizes import sizes_of
from sfumato.weights.survey import survey

CPU, F32 = torch.device("cpu"), torch.float32
SMALL = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8), "num_encoder_blocks": (1, 2),
         "num_decoder_blocks": (2, 1)}  # fmt: skip


def _load(path, **parts):
    return registry.load(path, F32, F32, CPU, parts=Parts(**parts))


def _split(path, home, texts):
    """A file's networks as files of their own, without what stands before their names."""
    tensors = load_file(path)
    places = {"unet": ldm.UNET, "vae": ldm.VAE} | {f"text{k}": prefix for k, prefix in enumerate(texts)}
    for name, prefix in places.items():
        part = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        save_file(part, home / f"{name}.safetensors")
    return [home / f"{name}.safetensors" for name in places]


def _assert_equal(ours, theirs):
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_three_files_are_the_model_that_they_were(tmp_path):
    whole = write_ldm(tmp_path / "m.safetensors", *make_networks())
    unet, vae, text = _split(whole, tmp_path, [ldm.TEXT])

    joined, one = _load(unet, vae=vae, texts=(text,)), _load(whole)

    assert joined.spec == one.spec
    for name in ("unet", "vae", "text_encoder"):
        _assert_equal(getattr(joined, name), getattr(one, name))
    assert sizes_of(unet, vae, (text,)) == sizes_of(whole)


def test_the_later_families_too(tmp_path):
    for make, texts in (
        (make_sdxl, ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")),
        (make_sd3, ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer.")),
    ):
        model = make()
        whole = write_file(tmp_path / "m.safetensors", model)
        unet, vae, first, second = _split(whole, tmp_path, texts)
        assert_same(_load(unet, vae=vae, texts=(second, first)), model)


def test_parts_of_other_programs_are_joined(tmp_path):
    """A UNet that is packed in a GGUF, an autoencoder and a text encoder as diffusers saves them."""
    networks = make_networks(seed=3)
    whole = write_ldm(tmp_path / "m.safetensors", *networks)
    folder = write_folder(tmp_path / "d", *networks)
    unet = _split(whole, tmp_path, [ldm.TEXT])[0]
    flags = ["--model_path", str(unet), "--output_path", str(tmp_path / "u.gguf"), "--type", "f32"]
    assert quantize_main(flags) == 0

    vae, text = folder / "vae" / "diffusion_pytorch_model.safetensors", folder / "text_encoder" / "model.safetensors"
    joined = _load(tmp_path / "u.gguf", vae=vae, texts=(text,))

    for ours, theirs in zip((joined.unet, joined.vae, joined.text_encoder), networks, strict=True):
        _assert_equal(ours, theirs)


def test_another_autoencoder_takes_the_place_of_the_own(tmp_path):
    path = write_ldm(tmp_path / "m.safetensors", *make_networks())
    other = make_networks(seed=8)
    vae = _split(write_ldm(tmp_path / "o.safetensors", *other), tmp_path, [])[1]

    _assert_equal(_load(path, vae=vae).vae, other[1])


def test_what_a_unet_alone_lacks_is_said(tmp_path):
    unet, vae, text = _split(write_ldm(tmp_path / "m.safetensors", *make_networks()), tmp_path, [ldm.TEXT])

    with pytest.raises(CheckpointError, match=r"give --vae FILE .* and --text_encoder FILE"):
        _load(unet)
    assert "give --vae FILE (an autoencoder) and --text_encoder FILE" in survey(unet).problem
    with pytest.raises(CheckpointError, match="takes 1 CLIP text encoders, and 2 are given"):
        _load(unet, vae=vae, texts=(text, text))
    with pytest.raises(CheckpointError, match="is no autoencoder"):
        _load(unet, vae=text, texts=(text,))
    with pytest.raises(CheckpointError, match="is no text encoder"):
        _load(unet, vae=vae, texts=(vae,))


def _tiny(seed=1, **changes):
    torch.manual_seed(seed)
    return AutoencoderTiny(**(SMALL | changes)).eval()


def _original(tiny):
    """A decoder's tensors as the original repository names them: the clamp is layer 0."""
    names = {}
    for name, tensor in tiny.decoder.state_dict().items():
        _, number, rest = name.split(".", 2)
        names[f"{int(number) + 1}.{rest}"] = tensor
    return names


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"latent_channels": 12, "num_decoder_blocks": (3, 0)}])
def test_a_tiny_autoencoder_is_diffusers(tmp_path, changes):
    theirs = _tiny(**changes)
    save_file(theirs.state_dict(), tmp_path / "t.safetensors")
    spec = Spec(name="sd1", latent_channels=theirs.config.latent_channels, latent_factor=2)

    ours = tiny_vae.load(tmp_path / "t.safetensors", None, spec, F32, CPU)

    latent, pixels = torch.randn(1, spec.latent_channels, 4, 4), torch.rand(1, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(ours.decode(latent / spec.scaling_factor).sample, theirs.decode(latent).sample)
    torch.testing.assert_close(ours.encode(pixels).latents * spec.scaling_factor, theirs.encode(pixels).latents)


@torch.no_grad()
def test_an_original_decoder_draws_and_the_own_encodes(tmp_path):
    theirs, path = _tiny(), write_ldm(tmp_path / "m.safetensors", *make_networks())
    save_file(_original(theirs), tmp_path / "taesd_decoder.safetensors")

    networks = _load(path, vae=tmp_path / "taesd_decoder.safetensors")

    latent, pixels = torch.randn(1, 4, 4, 4), torch.rand(1, 3, 8, 8) * 2 - 1
    scaled = latent / networks.spec.scaling_factor
    torch.testing.assert_close(networks.vae.decode(scaled).sample, theirs.decode(latent).sample)
    own = _load(path).vae
    torch.testing.assert_close(networks.vae.encode(pixels).latent_dist.mean, own.encode(pixels).latent_dist.mean)


def test_a_tiny_autoencoder_of_another_model_is_refused(tmp_path):
    path = write_ldm(tmp_path / "m.safetensors", *make_networks())
    for changes, words in (({"latent_channels": 16}, "16 channels"), ({"decoder_block_out_channels": (8, 8, 8),
        "num_decoder_blocks": (1, 1, 1)}, "4 pixels along a latent cell")):  # fmt: skip
        save_file(_original(_tiny(**changes)), tmp_path / "t.safetensors")
        with pytest.raises(CheckpointError, match=words):
            _load(path, vae=tmp_path / "t.safetensors")


def test_names_in_the_models_folder_draw(tmp_path):
    unet, vae, text = _split(write_ldm(tmp_path / "m.safetensors", *make_networks()), tmp_path, [ldm.TEXT])
    for path, home in ((vae, "vae"), (text, "text_encoders")):
        (tmp_path / home).mkdir()
        path.rename(tmp_path / home / path.name)
    save_file(_original(_tiny()), tmp_path / "vae" / "small.safetensors")
    request = Txt2ImgRequest(prompt="a cat", seed=1, steps=1, width=16, height=16)
    parts = {"text_encoder": "text0", "models_folders": [tmp_path]}

    joined = Studio(unet, vae="vae", **parts).generate(request).images[0]

    assert joined.tobytes() == Studio(tmp_path / "m.safetensors").generate(request).images[0].tobytes()
    assert Studio(tmp_path / "m.safetensors", vae="small", models_folders=[tmp_path]).generate(request).images
    with pytest.raises(CheckpointError, match="--vae 'vea': neither a file nor a name"):
        Studio(unet, vae="vea", **parts).generate(request)


def test_a_checkpoint_with_more_is_loaded_in_part(tmp_path, caplog):
    path = write_ldm(tmp_path / "m.safetensors", *make_networks())
    save_file(load_file(path) | {"odd.weight": torch.ones(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors are not part of sd1, such as odd\.weight"):
        _load(tmp_path / "odd.safetensors")

    loaded = _load(tmp_path / "odd.safetensors", partial=True)

    _assert_equal(loaded.unet, _load(path).unet)
    assert "tensors are used; not odd.weight" in caplog.text


def test_a_lora_that_fits_in_part_is_put_on_in_part(tmp_path, caplog):
    networks = _load(write_ldm(tmp_path / "m.safetensors", *make_networks()))
    good = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {}
    for name in (good, "lora_unet_no_such_layer", "lora_te_no_such_layer"):
        tensors |= {f"{name}.lora_down.weight": torch.ones(2, 64), f"{name}.lora_up.weight": torch.ones(64, 2)}
    save_file(tensors, tmp_path / "l.safetensors")
    with pytest.raises(CheckpointError, match="0 of 1 in text_encoder, 1 of 2 in unet fit"):
        Adapters(networks).use([Wish(tmp_path / "l.safetensors")])

    Adapters(networks, partial=True).use([Wish(tmp_path / "l.safetensors")])

    assert "0 of 1 in text_encoder, 1 of 2 in unet fit; left out" in caplog.text


@pytest.mark.parametrize("key", ["text_encoder", "unet"])
def test_a_lora_of_which_nothing_fits_is_an_error_always(tmp_path, key):
    networks = _load(write_ldm(tmp_path / "m.safetensors", *make_networks()))
    name = {"text_encoder": "lora_te_odd", "unet": "lora_unet_odd"}[key]
    down, up = torch.ones(2, 64), torch.ones(64, 2)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path / "l.safetensors")

    with pytest.raises(CheckpointError, match="1 of its 1 branches fit no layer"):
        Adapters(networks, partial=True).use([Wish(tmp_path / "l.safetensors")])

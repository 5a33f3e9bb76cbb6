"""T5: its tokens, its numbers, and where Stable Diffusion 3 finds it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import make_sd3, make_t5, pipeline, t5_tensors, t5_tokenizer, write_file

from sfumato.errors import CheckpointError
from sfumato.families import registry, t5_tokens
from sfumato.families.registry import Parts
from sfumato.families.t5_text import T5Config, T5Encoder, buckets
from sfumato.families.text import read
from sfumato.quant.streamed import StreamedLinear
from sfumato.weights import remote
from sfumato.weights.detect import detect
from sfumato.weights.sizes import sizes_of
from sfumato.weights.source import open_any

CPU, F32 = torch.device("cpu"), torch.float32
WORDS = (("a lighthouse at dusk, ", 1.0), ("oil painting", 1.3))
#: As SentencePiece itself reads them with the published model.
IDS = {
    "": [],
    "a red apple": [3, 9, 1131, 8947],
    "  A  RED\tapple\n": [71, 3, 13729, 8947],
    "naïve cafe\u0301": [3, 29, 9, 2, 162, 11949],
    "日本語": [3, 2],
    "1234 3.14": [586, 3710, 1877, 2534],
}
_GGUF = {
    "SelfAttention.q": "attn_q", "SelfAttention.k": "attn_k", "SelfAttention.v": "attn_v", "SelfAttention.o": "attn_o",
    "SelfAttention.relative_attention_bias": "attn_rel_b", "0.layer_norm": "attn_norm", "1.layer_norm": "ffn_norm",
    "DenseReluDense.wi_0": "ffn_gate", "DenseReluDense.wi_1": "ffn_up", "DenseReluDense.wo": "ffn_down",
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return make_sd3(seed=3, t5=True)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("whole") / "m.safetensors", model)


@pytest.fixture(scope="module")
def without(model, tmp_path_factory):
    """The same model without T5."""
    return write_file(tmp_path_factory.mktemp("clips") / "m.safetensors", replace(model, text_encoder_3=None))


def _load(path, streamed=(), **parts):
    return registry.load(path, F32, F32, CPU, streamed=streamed, parts=Parts(**parts) if parts else None)


def _third(networks):
    return {reader.name: reader.network for reader in networks.readers}.get("text_encoder_3")


def _same(networks, t5):
    actual, expected = _third(networks).state_dict(), t5_tensors(t5)
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("text", IDS)
def test_a_text_has_the_tokens_that_sentencepiece_gives_it(text):
    assert t5_tokens.t5().ids(text) == IDS[text]


def test_a_folders_own_vocabulary_goes_before_ours(tmp_path):
    assert t5_tokens.from_folder(tmp_path).ids("a red apple") == IDS["a red apple"]
    inner = json.loads(t5_tokens.t5()._tokenizer.to_str())
    inner["model"]["vocab"][3], inner["model"]["vocab"][5] = inner["model"]["vocab"][5], inner["model"]["vocab"][3]
    Tokenizer.from_str(json.dumps(inner)).save(str(tmp_path / "tokenizer.json"))

    assert t5_tokens.from_folder(tmp_path).ids("a red apple")[0] == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spiece.model", b"\x0a\xff"),
        ("spiece.model", b""),
        ("spiece.model", b"\x0b"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"\xff"),
    ],
)
def test_a_damaged_vocabulary_is_said_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CheckpointError, match=rf"{name}: can't be read.*; copy or download it again$"):
        t5_tokens.from_folder(tmp_path)


def test_the_numbers_are_those_of_transformers():
    theirs = make_t5(64, layers=3, heads=5)
    ours = T5Encoder(T5Config.of(theirs.config.to_dict())).eval()
    ours.load_state_dict(t5_tensors(theirs))
    ids = torch.randint(0, 32000, (2, 300), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        expected = theirs(input_ids=ids).last_hidden_state
        torch.testing.assert_close(ours(ids), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_distances_fall_into_kinds():
    kinds = buckets(torch.tensor([-1000, -128, -8, -1, 0, 1, 7, 8, 127, 1000]), 32, 128)

    assert kinds.tolist() == [15, 15, 8, 1, 0, 17, 23, 24, 31, 31]


def test_another_feed_forward_network_is_refused():
    with pytest.raises(ValueError, match="feed_forward_proj is 'relu'; known: gated-gelu"):
        T5Config.of({"feed_forward_proj": "relu"})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_words_are_read_as_diffusers_reads_them(model, file, tmp_path):
    networks = _load(file)
    _same(networks, model.text_encoder_3)
    expected, *_ = pipeline(model, tmp_path).encode_prompt("a red apple", None, None, device=CPU)

    with torch.inference_mode():
        found = read(networks, (("a red apple", 1.0),)).context

    assert found.shape == (1, 77 + 256, 256)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_and_long_texts_count(file):
    networks = _load(file)
    with torch.inference_mode():
        plain, weighted = (read(networks, (WORDS[0], ("oil painting", w))).context for w in (1.0, 1.3))
        long = read(networks, (("apple " * 300, 1.0), ("BREAK", -1.0), ("pear", 1.0)))

    assert not torch.equal(plain[:, 77:], weighted[:, 77:])
    assert long.context.shape[1] == 77 * 5 + 303


def test_without_t5_its_words_are_zeros(without):
    networks = _load(without)
    with torch.inference_mode():
        assert not read(networks, WORDS).context[:, 77:].any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_brings_it_with_its_tokenizer(model, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "LEAST", 1)
    pipeline(model, tmp_path / "words").save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "text_encoder_3" / "model.safetensors"
    stored = load_file(file)
    stored["encoder.embed_tokens.weight"] = stored.pop("shared.weight")  # as some files have it
    save_file(stored, file, {"format": "pt"})
    networks = _load(tmp_path / "m", ("t5",))

    assert t5_tokenizer()("pear").input_ids[:-1] == networks.readers[2].tokenizer.ids("pear")
    assert isinstance(_third(networks).encoder.block[1].layer[1].DenseReluDense.wo, StreamedLinear)


@pytest.mark.parametrize("names", ["transformers", "both tables", "gguf"])
def test_a_file_of_its_own(model, without, tmp_path, names):
    path = tmp_path / ("t5.gguf" if names == "gguf" else "t5.safetensors")
    tensors = t5_tensors(model.text_encoder_3)
    if names == "gguf":
        _write_gguf(path, tensors)
    else:
        again = {"encoder.embed_tokens.weight": tensors["shared.weight"].clone()} if names == "both tables" else {}
        save_file(tensors | again, path)

    assert detect(open_any(path).header).kind == "text encoder"
    _same(_load(without, texts=(path,)), model.text_encoder_3)
    assert sizes_of(without, None, (path,)).numbers["t5"] == sum(t.numel() for t in tensors.values()) + (
        tensors["shared.weight"].numel() if names == "both tables" else 0
    )
    assert sizes_of(without, None, (path,)).numbers["text_encoder"] == sizes_of(without).numbers["text_encoder"]


def _write_gguf(path, tensors):
    writer = gguf.GGUFWriter(str(path), "t5encoder")
    ends = {"shared.weight": "token_embd.weight", "encoder.final_layer_norm.weight": "enc.output_norm.weight"}
    for name, tensor in tensors.items():
        inner = next((new for old, new in _GGUF.items() if f"{old}." in name), "")
        block = f"enc.blk.{name.split('.')[2]}.{inner}.weight" if inner else ends[name]
        writer.add_tensor(block, tensor.numpy())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()


def test_streamed_it_reads_the_same_and_leaves_its_blocks_in_the_file(file, monkeypatch):
    monkeypatch.setattr(remote, "LEAST", 1)
    streamed, whole = _load(file, ("t5",)), _load(file)
    with torch.inference_mode():
        torch.testing.assert_close(read(streamed, WORDS).context, read(whole, WORDS).context, rtol=0, atol=0)
    layers = [m for m in _third(streamed).modules() if isinstance(m, StreamedLinear)]

    assert len(layers) == 2 * 7


def test_where_the_rest_is_in_half_precision_it_is_in_bfloat16(file):
    networks = registry.load(file, torch.float16, torch.float16, CPU)

    assert _third(networks).dtype is torch.bfloat16


def test_others_have_no_place_for_it(model, without, tmp_path):
    path = tmp_path / "t5.safetensors"
    save_file(t5_tensors(model.text_encoder_3), path)
    two = tmp_path / "again.safetensors"
    save_file(t5_tensors(model.text_encoder_3), two)
    narrow = tmp_path / "narrow.safetensors"
    save_file(t5_tensors(make_t5(128)), narrow)

    with pytest.raises(CheckpointError, match=r"again\.safetensors: is T5, and Stable Diffusion 3 takes one"):
        _load(without, texts=(path, two))
    with pytest.raises(CheckpointError, match="its T5 gives 128 numbers a word and its transformer takes 256"):
        _load(without, texts=(narrow,))

"""Words of one's own: where they are found in a text, what the text encoder sees there, and diffusers' view of it."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.errors import CheckpointError
from sfumato.families import registry, tokens
from sfumato.families.embeddings import FIRST, Embeddings, mentioned, read_embedding
from sfumato.families.text import chunks_of, encode

CLIP = tokens.clip()


def _words(**counts):
    return Embeddings({name: torch.randn(count, 64) for name, count in counts.items()})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *make_networks(seed=2))


def test_words_are_found_by_their_tokens_the_longest_first():
    words = _words(zorb=2, zorbling=1)
    plain = [(token,) for token in CLIP.ids("a and")]

    assert list(words.groups(CLIP, "a Zorb and")) == [plain[0], (FIRST, FIRST + 1), plain[1]]
    assert list(words.groups(CLIP, "a zorbling and")) == [plain[0], (FIRST + 2,), plain[1]]
    assert list(Embeddings().groups(CLIP, "a and")) == plain


@pytest.mark.parametrize(("before", "chunks"), [(70, [75]), (71, [71, 5]), (75, [75, 5])])
def test_vectors_stay_in_one_chunk(before, chunks):
    found = chunks_of(CLIP, ((" ".join(["cat"] * before) + " zorb", 1.0),), _words(zorb=5))
    assert [len(chunk.ids) for chunk in found] == chunks


@torch.no_grad()
def test_the_text_encoder_sees_the_vectors(file):
    networks = registry.load(file, torch.float32, torch.float32, torch.device("cpu"))
    table = networks.text_encoder.get_input_embeddings().weight
    cat, dog = CLIP.ids("cat dog")
    wanted = encode(networks, (("a cat dog here", 1.0),))
    networks.embeddings = Embeddings({"zorb": table[[cat, dog]].clone()})

    torch.testing.assert_close(encode(networks, (("a zorb here", 1.0),)), wanted)
    torch.testing.assert_close(encode(networks, (("a cat dog here", 1.0),)), wanted)


def test_files_of_both_layouts_are_read(tmp_path):
    vectors = torch.randn(3, 64)
    for name, key in (("a", "emb_params"), ("b", "<my-word>")):
        save_file({key: vectors}, tmp_path / f"{name}.safetensors")
        assert torch.equal(read_embedding(tmp_path / f"{name}.safetensors", 64), vectors)

    with pytest.raises(CheckpointError, match="are 64 numbers long and this model's are 768"):
        read_embedding(tmp_path / "a.safetensors", 768)
    save_file({"clip_l": vectors, "clip_g": vectors.clone()}, tmp_path / "xl.safetensors")
    with pytest.raises(CheckpointError, match="is no embedding: it has clip_g, clip_l"):
        read_embedding(tmp_path / "xl.safetensors", 64)


def test_a_studio_uses_those_that_a_prompt_names(file, tmp_path):
    (tmp_path / "embeddings").mkdir()
    save_file({"emb_params": torch.randn(2, 64) * 3}, tmp_path / "embeddings" / "Zorb.safetensors")
    studio = Studio(file, device="cpu", precision="full", models_folders=[tmp_path])

    def draw(prompt):
        request = Txt2ImgRequest(prompt=prompt, seed=1, steps=2, width=32, height=32)
        return studio.generate(request).images[0].tobytes()

    with_word, plain = draw("a zorb"), draw("a cat")
    assert with_word == draw("a zorb") != draw("a zorn")
    assert plain == draw("a cat")
    assert mentioned(["Zorb", "other"], ["a ZORB", ""]) == ["Zorb"]

"""Words of one's own: where they are found in a text, what the text encoder sees there, and diffusers' view of it."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.errors import CheckpointError
from sfumato.families import registry, tokens
from sfumato.families.embeddings import FIRST, MOST, Embeddings, read_embedding
from sfumato.families.text import CHUNK, chunks_of, read

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


@pytest.mark.parametrize("names", [("red", "red apple"), ("red apple", "red")])
def test_of_two_names_that_begin_alike_the_longer_one_is_meant(names):
    words = _words(**dict.fromkeys(names, 1))
    number = {name: (FIRST + place,) for place, name in enumerate(names)}

    assert list(words.groups(CLIP, "red apple red")) == [number["red apple"], number["red"]]


def test_names_are_found_however_they_are_written():
    words = _words(**{"Bad-Hands 5": 2})
    own = (FIRST, FIRST + 1)

    for text in ("bad-hands 5", "BAD - HANDS  5", "bad-hands\n5"):
        assert list(words.groups(CLIP, text)) == [own]
    assert own not in list(words.groups(CLIP, "bad-hands 6"))
    assert own not in list(words.groups(CLIP, "bad-handsome 5"))


@pytest.mark.parametrize(
    ("text", "vectors", "chunks"),
    [
        ("cat " * 70 + "zorb", 5, [75]),
        ("cat " * 71 + "zorb", 5, [71, 5]),
        ("cat " * 75 + "zorb", 5, [75, 5]),
        ("cat " * 60 + ", " + "cat " * 14 + "zorb", 5, [61, 19]),
        ("cat " * 60 + ", " + "cat " * 13 + "zorb", 5, [74, 5]),
        ("cat " * 60 + ", " + "cat " * 14 + "zorb", 1, [61, 15]),
        ("zorb zorb", 40, [40, 40]),
        ("zorb " * 3, MOST, [75, 75, 75]),
    ],
)
def test_vectors_stay_in_one_chunk_as_in_the_web_ui(text, vectors, chunks):
    found = chunks_of(CLIP, ((text, 1.0),), _words(zorb=vectors))

    assert [len(chunk.ids) for chunk in found] == chunks
    assert all(len(chunk.ids) == len(chunk.weights) for chunk in found)
    assert MOST == CHUNK


@torch.no_grad()
def test_the_text_encoder_sees_the_vectors(file):
    networks = registry.load(file, torch.float32, torch.float32, torch.device("cpu"))
    table = networks.text_encoder.get_input_embeddings().weight
    cat, dog = CLIP.ids("cat dog")
    wanted = read(networks, (("a cat dog here", 1.0),)).context
    networks.readers[0].embeddings = Embeddings({"zorb": table[[cat, dog]].clone()})

    torch.testing.assert_close(read(networks, (("a zorb here", 1.0),)).context, wanted)
    torch.testing.assert_close(read(networks, (("a cat dog here", 1.0),)).context, wanted)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_the_states_are_those_of_diffusers(file, tmp_path):
    networks = registry.load(file, torch.float32, torch.float32, torch.device("cpu"))
    torch.manual_seed(4)
    save_file({"<zorb>": torch.randn(3, 64)}, tmp_path / "zorb.safetensors")
    networks.embeddings.know({"zorb": tmp_path / "zorb.safetensors"}, 64)
    ours = read(networks, (("a zorb, red", 1.0),)).context

    unet, coder, text = make_networks(seed=2)
    CLIP.save(tmp_path)
    tokenizer = CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )
    pipeline = StableDiffusionPipeline(
        coder, text, tokenizer, unet, DDIMScheduler(), None, None, requires_safety_checker=False
    )
    pipeline.load_textual_inversion(str(tmp_path / "zorb.safetensors"), token="<zorb>")
    theirs = pipeline.encode_prompt("a <zorb>, red", "cpu", 1, False)[0]

    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_file_is_read_when_a_text_has_its_word_and_when_it_changed(tmp_path):
    home = tmp_path / "zorb.safetensors"
    files = {"zorb": home, "art": tmp_path / "art.safetensors"}
    save_file({"emb_params": torch.randn(2, 64)}, home)
    save_file({"emb_params": torch.randn(2, 1280)}, files["art"])
    words = Embeddings()
    words.know(files, 64)
    known = words.known

    list(words.groups(CLIP, "a cartoon"))
    assert words.vectors == {}
    list(words.groups(CLIP, "a zorb"))
    first = words.vectors["zorb"]
    with pytest.raises(CheckpointError, match=r"art.safetensors: its vectors are 1280 numbers long and .* are 64"):
        list(words.groups(CLIP, "art of a zorb"))
    words.know(files, 64)
    assert words.known == known
    assert words.vectors["zorb"] is first

    save_file({"emb_params": torch.randn(3, 64)}, home)
    words.know(files, 64)
    assert words.known != known
    assert list(words.groups(CLIP, "zorb")) == [(FIRST, FIRST + 1, FIRST + 2)]
    words.know({}, 64)
    assert list(words.groups(CLIP, "zorb")) == [(token,) for token in CLIP.ids("zorb")]


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


@pytest.mark.parametrize("shape", [(), (0, 64), (MOST + 1, 64), (2, 2, 64)])
def test_what_is_no_row_of_vectors_is_said(tmp_path, shape):
    save_file({"emb_params": torch.zeros(shape)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="and not 1 to 75 vectors"):
        read_embedding(tmp_path / "a.safetensors", 64)


def test_one_vector_may_be_alone(tmp_path):
    save_file({"x": torch.arange(64.0)}, tmp_path / "a.safetensors")

    assert torch.equal(read_embedding(tmp_path / "a.safetensors", 64), torch.arange(64.0)[None])


def test_a_studio_uses_those_that_a_prompt_names(file, tmp_path):
    torch.manual_seed(6)
    (tmp_path / "embeddings").mkdir()
    for name in ("Zorb", "grue (dark)"):
        save_file({"emb_params": torch.randn(2, 64) * 3}, tmp_path / "embeddings" / f"{name}.safetensors")
    studio = Studio(file, device="cpu", precision="full", models_folders=[tmp_path])
    without = Studio(file, device="cpu", precision="full", models_folders=[tmp_path / "none"])

    def draw(prompt, one=studio):
        request = Txt2ImgRequest(prompt=prompt, seed=1, steps=2, width=32, height=32)
        return one.generate(request).images[0].tobytes()

    with_word, plain = draw("a zorb"), draw("a cat")
    assert with_word == draw("a zorb") != draw("a zorn")
    assert plain == draw("a cat") == draw("a cat", without)
    for prompt in ("a zorb", r"a grue \(dark\)", "a z[o|a]rb"):
        assert draw(prompt) != draw(prompt, without)

    (tmp_path / "embeddings" / "Zorb.safetensors").unlink()
    assert draw("a zorb") == draw("a zorb", without)

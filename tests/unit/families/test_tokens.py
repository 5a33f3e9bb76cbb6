"""Token ids are those of transformers' CLIPTokenizer, whatever the text."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizerFast

from sfumato.errors import CheckpointError
from sfumato.families import tokens

TEXTS = (
    "",
    "a red apple",
    "  A  RED\tapple\n",
    "don't we'll I'M 'twas 's 'S it''s",
    "naïve cafe\u0301 nai\u0308ve",
    "日本語 テスト क्षि",
    "🍎🍏👩‍🚀",
    "1234 3.14 1/2 ² Ⅻ",
    "a,b , c,,d",
    "ﬁne ẞ İstanbul ΣΑΣ 𝕳𝖊𝖑𝖑𝖔",
    "\u00a0nbsp\u2003em\u200bzero \x00\x01ctl",
    "((a_b-c+d=e)) “quotes” – dash…",
    "&amp; &lt;b&gt;",
    "é" * 40,
    "pneumonoultramicroscopicsilicovolcanoconiosis",
    "x<|endoftext|>y <|startoftext|> <|EndOfText|>",
)


def _published() -> tuple[dict[str, int], list[str]]:
    """Vocabulary and merges as CLIP makes them: bytes, bytes at a word's end, merges, start and end."""
    file = Path(tokens.__file__).parent / "data" / "bpe_simple_vocab_16e6.txt.gz"
    merges = gzip.decompress(file.read_bytes()).decode().splitlines()[1 : 49152 - 256 - 2 + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + k) for k in range(256 - len(printable))]
    words = [*letters, *(f"{x}</w>" for x in letters), *(m.replace(" ", "") for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: index for index, word in enumerate(words)}, merges


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The published vocabulary as the files of a diffusers model's tokenizer."""
    path = tmp_path_factory.mktemp("tokenizer")
    vocabulary, merges = _published()
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    special = dict.fromkeys(("unk_token", "pad_token", "eos_token"), tokens.EOS) | {"bos_token": tokens.BOS}
    kind = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (path / "tokenizer_config.json").write_text(json.dumps(special | kind))
    return path


@pytest.fixture(scope="module")
def theirs(folder):
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def test_ids_that_everyone_knows():
    clip = tokens.clip()

    assert clip.ids("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert (clip.bos, clip.eos, clip.comma) == (49406, 49407, 267)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_transformers(text, theirs):
    assert tokens.clip().ids(text) == theirs(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_ids_of_any_text_are_those_of_transformers(theirs, text):
    assert tokens.clip().ids(text) == theirs(text)


def test_no_text_is_too_long():
    assert tokens.clip().ids("apple " * 1000) == [3055] * 1000


def test_a_models_own_files(folder, tmp_path):
    own = tokens.from_folder(folder)
    model = {"vocab": json.loads((folder / "vocab.json").read_text()), "merges": _published()[1]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    whole = tokens.from_folder(tmp_path)

    for text in TEXTS:
        assert own.ids(text) == whole.ids(text) == tokens.clip().ids(text)


def test_merges_in_pairs_as_newer_files_have_them(tmp_path):
    vocabulary, merges = _published()
    model = {"vocab": vocabulary, "merges": [merge.split() for merge in merges]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))

    assert tokens.from_folder(tmp_path).ids("a red apple") == [320, 736, 3055]


def test_a_small_vocabulary_of_its_own(tmp_path):
    words = ["a", "b", "a</w>", "b</w>", "ab</w>", tokens.BOS, tokens.EOS]
    (tmp_path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")

    own = tokens.from_folder(tmp_path)

    assert own.ids("ab ba AB") == [4, 1, 2, 4]
    assert (own.bos, own.eos, own.comma) == (5, 6, -1)


def test_without_files_it_is_clips_vocabulary(tmp_path):
    assert tokens.from_folder(tmp_path / "absent") is tokens.clip()


@pytest.mark.parametrize(
    ("vocabulary", "merges"),
    [("{", "a b\n"), ("[]", "a b\n"), ("{}", "a b\n"), ('{"a": 0}', None), ('{"a": 0, "b": 1, "ab": 2}', "a b c\n")],
)
def test_damaged_files_are_named(tmp_path, vocabulary, merges):
    (tmp_path / "vocab.json").write_text(vocabulary)
    if merges is not None:
        (tmp_path / "merges.txt").write_text(merges)

    with pytest.raises(CheckpointError, match="tokenizer's files can't be read"):
        tokens.from_folder(tmp_path)


def _write_small(folder, **special):
    words = ["!", "a</w>", tokens.BOS, tokens.EOS, "<s>", "</s>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    for file, content in special.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return tokens.from_folder(folder)


def _specials(tokenizer):
    return tokenizer.bos, tokenizer.eos, tokenizer.pad


def test_special_tokens_are_those_that_the_model_names(tmp_path):
    assert _specials(_write_small(tmp_path)) == (2, 3, 3)
    assert _specials(_write_small(tmp_path, special_tokens_map={"pad_token": {"content": "!"}})) == (2, 3, 0)
    own = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": None}
    assert _specials(_write_small(tmp_path, tokenizer_config=own)) == (4, 5, 5)


def test_a_special_token_that_is_in_no_vocabulary(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer's files can't be read.*<pad>"):
        _write_small(tmp_path, tokenizer_config={"pad_token": "<pad>"})


def test_size_is_one_more_than_the_greatest_id(tmp_path):
    assert tokens.clip().size == 49408
    assert _write_small(tmp_path).size == 6


def test_saved_files_are_the_ones_that_are_read(tmp_path):
    tokens.clip().save(tmp_path)
    own = tokens.from_folder(tmp_path)

    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8")) == _published()[0]
    for text in TEXTS:
        assert own.ids(text) == tokens.clip().ids(text)

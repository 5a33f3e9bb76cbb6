"""Text to conditioning: the web UI's chunks and emphasis, and transformers' hidden states."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks

from sfumato.errors import RequestError
from sfumato.families import tokens
from sfumato.families.base import Networks, Spec
from sfumato.families.text import BREAK, ClipReader, chunks_of, count_tokens, emphasize, read

COMMA = 0


class Words:
    """A tokenizer whose texts are numbers: each is its own id, and a comma is 0."""

    comma, bos, eos = COMMA, 1000, 1001

    def ids(self, text):
        return [COMMA if word == "," else int(word) for word in text.split()]


def _text(*ids):
    return " ".join("," if i == COMMA else str(i) for i in ids)


def _chunks(*segments):
    return [chunk.ids for chunk in chunks_of(Words(), segments)]


ROW = list(range(1, 301))


@pytest.mark.parametrize("count", [0, 1, 74, 75])
def test_up_to_75_tokens_are_one_chunk(count):
    assert _chunks((_text(*ROW[:count]), 1.0)) == [ROW[:count]]


@pytest.mark.parametrize("count", [76, 77, 150, 151, 300])
def test_more_go_on_in_chunks_of_75(count):
    row = ROW[:count]

    assert _chunks((_text(*row), 1.0)) == [row[k : k + 75] for k in range(0, count, 75)]


@pytest.mark.parametrize("place", [55, 60, 74])
def test_text_after_a_near_comma_moves_to_the_next_chunk(place):
    row = [*ROW[:place], COMMA, *ROW[place + 1 : 80]]

    assert _chunks((_text(*row), 1.0)) == [row[: place + 1], row[place + 1 :]]


@pytest.mark.parametrize("place", [0, 30, 54])
def test_a_comma_that_is_far_back_moves_nothing(place):
    row = [*ROW[:place], COMMA, *ROW[place + 1 : 80]]

    assert _chunks((_text(*row), 1.0)) == [row[:75], row[75:]]


def test_a_comma_that_would_begin_a_chunk_begins_it():
    row = [*ROW[:75], COMMA, *ROW[76:80]]

    assert _chunks((_text(*row), 1.0)) == [row[:75], row[75:]]


def test_the_last_of_several_commas_counts():
    row = [*ROW[:58], COMMA, *ROW[59:70], COMMA, *ROW[71:90]]

    assert _chunks((_text(*row), 1.0)) == [row[:71], row[71:]]


def test_a_comma_of_the_chunk_before_does_not_count():
    row = [*ROW[:70], COMMA, *ROW[71:200]]

    assert _chunks((_text(*row), 1.0)) == [row[:71], row[71:146], row[146:]]


def test_chunks_go_over_segments_and_tokens_keep_their_weights():
    first, second = chunks_of(Words(), [(_text(*ROW[:70]), 1.0), (_text(*ROW[70:80]), 1.3)])

    assert (first.ids, second.ids) == (ROW[:75], ROW[75:80])
    assert first.weights == [1.0] * 70 + [1.3] * 5
    assert second.weights == [1.3] * 5


def test_weights_move_with_the_text_after_a_comma():
    first, second = chunks_of(Words(), [(_text(*ROW[:70], COMMA), 1.0), (_text(*ROW[71:78]), 0.5)])

    assert first.weights == [1.0] * 71
    assert second.weights == [0.5] * 7
    assert second.ids == ROW[71:78]


def test_break_ends_a_chunk():
    assert _chunks(("1 2", 1.0), BREAK, ("3", 1.0)) == [[1, 2], [3]]
    assert _chunks(BREAK, ("3", 1.0)) == [[], [3]]
    assert _chunks(("3", 1.0), BREAK) == [[3]]
    assert _chunks(("1", 1.0), BREAK, BREAK, ("3", 1.0)) == [[1], [], [3]]


def test_tokens_are_counted_without_chunk_ends():
    assert count_tokens(Words(), [(_text(*ROW[:80]), 1.0), BREAK, ("1", 1.1)]) == 81
    assert count_tokens(Words(), [("", 1.0)]) == 0


def test_emphasis_keeps_each_chunks_mean():
    torch.manual_seed(0)
    states, weights = torch.randn(3, 77, 8) + 0.5, torch.rand(3, 77) + 0.5
    weights[2] = 1

    out = emphasize(states, weights)

    torch.testing.assert_close(out.mean((1, 2)), states.mean((1, 2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(out[2], states[2], rtol=0, atol=1e-6)
    ratio = out[0] / (states[0] * weights[0][:, None])
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-4, atol=0)


def test_a_mean_of_zero_is_no_mean_to_keep():
    torch.manual_seed(0)
    states, weights = torch.nn.functional.layer_norm(torch.randn(2, 77, 64), (64,)), torch.rand(2, 77) + 0.5

    torch.testing.assert_close(emphasize(states, weights), states * weights[..., None])


def test_weights_of_one_change_not_a_bit():
    states = torch.randn(2, 77, 8, dtype=torch.bfloat16)

    assert emphasize(states, torch.ones(2, 77)) is states
    assert emphasize(states, torch.full((2, 77), 1.5)).dtype == torch.bfloat16


@pytest.fixture(scope="module")
def networks():
    text = make_networks(widths=(16, 32), vae=(16,), context=32, text_layers=4)[2]
    norm = next(module for name, module in text.named_modules() if name.endswith("final_layer_norm"))
    torch.nn.init.constant_(norm.bias, 0.1)  # without one the states' mean is zero but for rounding
    return _networks(tokens.clip(), text)


def _networks(tokenizer, text):
    return Networks(Spec(name="sd1"), (ClipReader(tokenizer, text),), None, None, torch.device("cpu"))


def _rows(*chunks):
    ids = [[49406, *chunk, *[49407] * (76 - len(chunk))] for chunk in chunks]
    return torch.tensor(ids)


def _shorter(model, layers):
    """The same text encoder with its first layers only."""
    short = copy.deepcopy(model)
    inner = getattr(short, "text_model", short)
    inner.encoder.layers = inner.encoder.layers[:layers]
    return short


@torch.no_grad()
def test_a_plain_text_is_transformers_last_hidden_state(networks):
    ids = tokens.clip().ids("a red apple, on a table")

    out = read(networks, [("a red apple, on a table", 1.0)]).context

    torch.testing.assert_close(out, networks.text_encoder(_rows(ids)).last_hidden_state, rtol=0, atol=0)


@torch.no_grad()
def test_a_long_text_is_its_chunks_encoded_apart_and_joined(networks):
    apple = [3055] * 75

    out = read(networks, [("apple " * 100, 1.0), BREAK, ("a cat", 1.0)]).context
    states = networks.text_encoder(_rows(apple, apple[:25], [320, 2368])).last_hidden_state

    assert out.shape == (1, 3 * 77, 32)
    torch.testing.assert_close(out[0], states.reshape(-1, 32), rtol=0, atol=1e-6)


@torch.no_grad()
def test_weights_fall_on_their_own_words(networks):
    out = read(networks, [("a ", 1.0), ("cat", 1.5)]).context
    states = networks.text_encoder(_rows([320, 2368])).last_hidden_state
    weighted = states.clone()
    weighted[0, 2] *= 1.5

    torch.testing.assert_close(out, weighted * states.mean() / weighted.mean(), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("skip", [1, 2, 3, 4])
def test_clip_skip_is_a_shorter_encoder_with_the_same_final_norm(networks, skip):
    out = read(networks, [("a cat", 1.0)], clip_skip=skip).context
    expected = _shorter(networks.text_encoder, 5 - skip)(_rows([320, 2368])).last_hidden_state

    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("skip", [2, 3])
def test_clip_skip_is_transformers_hidden_state_with_the_final_norm(networks, skip):
    model = networks.text_encoder
    hidden = model(_rows([320, 2368]), output_hidden_states=True).hidden_states[-skip]
    norm = getattr(model, "text_model", model).final_layer_norm

    torch.testing.assert_close(read(networks, [("a cat", 1.0)], skip).context, norm(hidden), rtol=0, atol=1e-6)


def test_clip_skip_beyond_the_layers_is_refused(networks):
    with pytest.raises(RequestError, match=r"clip_skip is 5, .* 4 layers; give 1 to 4"):
        read(networks, [("a cat", 1.0)], clip_skip=5)


@torch.no_grad()
def test_a_text_is_filled_with_the_tokenizers_own_padding(networks):
    """As in Stable Diffusion 2: one end, then "!"."""
    padded = copy.copy(networks.tokenizer)
    padded.pad = 0
    full = [3055] * 75
    rows = torch.tensor([[49406, *full, 49407], [49406, 320, 2368, 49407, *[0] * 73]])

    out = read(_networks(padded, networks.text_encoder), [("apple " * 75 + "a cat", 1.0)]).context

    torch.testing.assert_close(out[0], networks.text_encoder(rows).last_hidden_state.reshape(-1, 32), rtol=0, atol=1e-6)

"""Whole runs on a tiny model: they go on bit for bit, survive what goes wrong, and say what did."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from sfumato.cli import quantize_main
from sfumato.errors import NumericError, OutputError, RequestError
from sfumato.families.folder import RECOMMENDED
from sfumato.families.models_folder import find
from sfumato.training.methods import Trainee
from sfumato.training.state import States


def _weights(run):
    return {name: p.detach().clone() for name, p in run.trainee.trained().items()}


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "method", [{}, {"targets": "all", "train_text_encoder": True}, {"method": "full"}], ids=["lora", "all", "full"]
)
def test_a_resumed_run_gives_the_bits_of_one_that_was_not_stopped(trained, make_run, method):
    options = {"method": method, "ema": 0.9, "noise_offset": 0.1, "data": {"flip": True}, "save_every": 2}
    whole, _ = trained("whole", max_steps=5, **options)
    trained("half", max_steps=2, **options)
    run, steps = trained("half", max_steps=5, resume="latest", **options)

    assert [step.step for step in steps] == [3, 4, 5]
    _assert_equal(_weights(run), _weights(whole))
    rows = [json.loads(line) for line in (run.places.run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_built_in_model_is_trained_in_bfloat16_too(trained, method):
    options = {"data": {"resolution": 64, "class_pictures": 0}, "method": {"method": method}}

    run, steps = trained(base=find("stable-universe", ()), mixed_precision="bf16", max_steps=2, **options)

    assert run.networks.unet.dtype is (torch.float32 if method == "full" else torch.bfloat16)
    assert [step.step for step in steps] == [1, 2]
    assert all(0 < step.loss < 10 for step in steps)


def test_the_loss_falls_and_a_plot_shows_it(trained):
    run, steps = trained(max_steps=60, method={"method": "full"}, learning_rate=3e-3, batch_size=4)

    losses = [step.loss for step in steps]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    with Image.open(run.places.run / "loss.png") as plot:
        assert plot.size == (800, 450)


def test_a_packed_base_is_unpacked_and_learns_as_a_plain_one(trained, ldm_file, tmp_path):
    packed = tmp_path / "packed.gguf"
    command = ["--model_path", str(ldm_file), "--output_path", str(packed), "--type", "q8_0", "--layout", "compact"]
    assert quantize_main(command) == 0
    method = {"targets": "all", "train_text_encoder": True}
    plain, first = trained("plain", method=method)
    run, second = trained("packed", base=packed, method=method)

    assert _weights(run).keys() == _weights(plain).keys()
    assert [s.loss for s in second] == pytest.approx([s.loss for s in first], rel=0.05)


def test_a_packed_folder_is_not_trained_whole(make_run, tmp_path):
    packed = tmp_path / "packed.gguf"
    command = ["--model_path", "stable-universe", "--output_path", str(packed), "--type", "q8_0", "--layout", "compact"]
    assert quantize_main(command) == 0

    with pytest.raises(RequestError, match="--dequantize"):
        make_run(base=packed, method={"method": "full"})


def test_accumulated_batches_are_one_large_batch(trained):
    one, first = trained("one", batch_size=4)
    two, second = trained("two", batch_size=2, gradient_accumulation=2)

    assert [s.loss for s in first] == pytest.approx([s.loss for s in second], rel=1e-4)
    for name, value in _weights(one).items():
        torch.testing.assert_close(_weights(two)[name], value, rtol=0, atol=2e-4)


def test_checkpointed_gradients_are_the_same(trained):
    plain, _ = trained("plain")
    saved, _ = trained("saved", gradient_checkpointing=True)

    for name, value in _weights(plain).items():
        torch.testing.assert_close(_weights(saved)[name], value, rtol=0, atol=1e-5)


def test_nan_goes_back_once_and_then_names_the_pictures(make_run, monkeypatch):
    run, answers, forward = make_run(max_steps=4, save_every=1), [], Trainee.forward

    def failing(self, x, t, words):
        answers.append(1)
        out = forward(self, x, t, words)
        return out * float("nan") if len(answers) in (3, 5) else out

    monkeypatch.setattr(Trainee, "forward", failing)
    with pytest.raises(NumericError, match=r"step 4 gave NaN or infinity, with a \w+ wall.png, again"):
        run.start(None, lambda step: None)
    assert [p.name for p in States(run.places.run).paths()] == ["state-00000002.pt", "state-00000003.pt"]


def test_a_single_nan_costs_only_the_steps_since_the_state(trained, monkeypatch):
    answers, forward = [], Trainee.forward
    whole, _ = trained("whole")

    def failing(self, x, t, words):
        answers.append(1)
        return forward(self, x, t, words) * (float("nan") if len(answers) == 2 else 1)

    monkeypatch.setattr(Trainee, "forward", failing)
    run, steps = trained("run", save_every=1)
    assert [step.step for step in steps] == [1, 2, 3]
    _assert_equal(_weights(run), _weights(whole))


def test_a_scaled_loss_that_overflows_is_scaled_less(trained, make_run, monkeypatch):
    """As in float16, in float32: scaled by powers of two, numbers are the same bits unless they overflow."""
    forward = Trainee.forward
    monkeypatch.setattr(Trainee, "forward", lambda *args: forward(*args) * 2**8)
    plain, _ = trained("plain")
    run, steps = make_run("scaled"), []
    run.accelerator.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    run.start(None, steps.append)

    assert [step.step for step in steps] == [1, 2, 3]
    assert 1 < scaler.get_scale() < 2.0**127
    _assert_equal(_weights(run), _weights(plain))


def test_nan_is_not_for_a_smaller_scale(make_run, monkeypatch):
    run, forward = make_run(), Trainee.forward
    run.accelerator.scaler = scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    monkeypatch.setattr(Trainee, "forward", lambda *args: forward(*args) * float("nan"))

    with pytest.raises(NumericError, match="step 1 gave NaN"):
        run.start(None, lambda step: None)
    assert scaler.get_scale() == 2.0**14


def test_a_rate_that_is_too_high_is_said(make_run):
    run = make_run(method={"method": "full"}, max_steps=400, learning_rate=0.5, max_grad_norm=0.0)

    with pytest.raises(NumericError, match=r"--learning_rate 0.5"):
        run.start(None, lambda step: None)


def test_ctrl_c_saves_after_the_step(make_run):
    run = make_run(max_steps=50)
    finished = run.start(None, lambda step: os.kill(os.getpid(), signal.SIGINT) if step.step == 2 else None)

    assert (finished.output, finished.step) == (None, 2)
    assert States(run.places.run).paths()[-1].name == "state-00000002.pt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 1}, "another method"), ({"method": {"rank": 8}}, "another method"),
     ({"data": {"caption": "x", "instance_prompt": "y"}}, "another data")],
)  # fmt: skip
def test_a_state_of_another_run_is_refused(trained, make_run, changes, words):
    trained()

    with pytest.raises(RequestError, match=words):
        make_run(**changes).start("latest", lambda step: None)


COLOURS = ("red", "green", "blue", "white")
WORD = {"method": "textual_inversion", "token": "zorb", "vectors": 2}


def test_a_new_word_is_learned_beside_a_recommendation_of_what_to_remember(trained, model_folder, tmp_path):
    base = shutil.copytree(model_folder, tmp_path / "base")
    (base / RECOMMENDED).write_text(json.dumps({"class_prompts": ["a tree", ""]}))
    run, steps = trained(base=base, method={**WORD, "token": "re"})

    assert len(steps) == 3
    assert {item.caption for item in run.dataset.items} == {f"re, a {c} wall" for c in COLOURS}


@pytest.mark.parametrize("data", [{"class_prompt": "a tree"}, {"class_pictures": 2}, {"caption_dropout": 0.1},
                                  {"reg_dir": Path()}])  # fmt: skip
def test_what_shows_pictures_without_the_new_word_is_refused(make_run, data):
    with pytest.raises(RequestError, match=f"--{next(iter(data))} has no meaning"):
        make_run(method=WORD, data=data)


def test_another_base_is_refused(trained, make_run, model_folder):
    trained()

    with pytest.raises(RequestError, match="another base"):
        make_run(base=model_folder).start("latest", lambda step: None)


def test_runs_are_neither_written_over_nor_made_up(trained, make_run):
    with pytest.raises(RequestError, match="there is no state in"):
        make_run().start("latest", lambda step: None)
    with pytest.raises(RequestError, match="no such state file"):
        make_run().start("other.pt", lambda step: None)
    run, _ = trained()
    with pytest.raises(RequestError, match="has a run at step 3; go on with --resume latest"):
        make_run().start(None, lambda step: None)
    state = States(run.places.run).paths()[-1]
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RequestError, match="can't be read as a training state"):
        make_run().start("latest", lambda step: None)


def test_a_full_disk_keeps_the_older_states(make_run, monkeypatch):
    run, sync, count = make_run(save_every=1), os.fsync, []

    def full(descriptor):
        count.append(1)
        if len(count) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        run.start(None, lambda step: None)
    monkeypatch.undo()
    states = States(run.places.run)
    assert states.load(states.paths()[-1], run.facts()).step > 0
    assert not list(run.places.run.rglob(".sfumato-*"))


def test_samples_are_drawn_and_change_nothing(trained):
    plain, _ = trained("plain")
    shown, _ = trained("shown", sample_every=2, sample_prompts=("a", "b"), ema=0.5)
    sheets = sorted((shown.places.run / "samples").glob("*.png"))

    assert [sheet.name for sheet in sheets] == ["step-00000002.png", "step-00000003.png"]
    _assert_equal(_weights(shown), _weights(plain))


def test_masks_and_crops_are_used(trained, tmp_path):
    folder = tmp_path / "cut"
    folder.mkdir()
    picture = Image.linear_gradient("L").resize((32, 128)).rotate(90, expand=True).convert("RGBA")
    picture.paste((0, 0, 0, 0), (56, 0, 72, 32))
    picture.save(folder / "a.png")
    data = {"data_dir": folder, "resolution": 32}

    plain, first = trained("plain", data=data)
    _, masked = trained("masked", data={**data, "masked_loss": True})
    _, cropped = trained("cropped", data={**data, "random_crop": True})
    assert len({round(steps[0].loss, 5) for steps in (first, masked, cropped)}) == 3
    assert len(list((plain.places.run / "cache").iterdir())) == 1
    assert plain.batches.sizes[0][0] > plain.batches.sizes[0][1]

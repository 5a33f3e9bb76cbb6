"""Words to a picture through the real program, on real files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from sfumato.cli import main
from sfumato.gallery import files, infotext

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "import sys; from sfumato.cli import main; sys.exit(main())"]
Argv = Callable[..., list[str]]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _run_json(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert "Error" not in err
    return [json.loads(line) for line in out.splitlines()]


def test_a_picture_that_says_how_it_was_made(argv: Argv, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = _run_json(argv("--prompt", "a (red:1.2) apple", "--negative-prompt", "dog", "--seed", "7"), capsys)
    path = Path(str(shown["path"]))

    request = infotext.to_request(infotext.parse(files.read(path) or ""))

    assert [picture.resolve() for picture in _pictures(clean)] == [path.resolve()]
    assert (request.prompt, request.negative_prompt, request.seed, request.steps) == ("a (red:1.2) apple", "dog", 7, 2)
    assert (request.width, request.height) == (32, 32)
    assert request.sampler == shown["sampler"]
    assert request.scheduler == shown["scheduler"]
    assert shown["model"] == "tiny"
    assert len(str(shown["model_hash"])) == 10
    with Image.open(path) as image:
        assert image.size == (32, 32)


def test_info_gives_flags_that_make_the_same_picture(argv: Argv, capsys: pytest.CaptureFixture[str]) -> None:
    (first,) = _run_json(argv("--prompt", "x", "--sampler", "Euler a", "--scheduler", "Karras", "--seed", "3"), capsys)
    assert main(["info", "--json", str(first["path"])]) == 0
    request = json.loads(capsys.readouterr().out)["request"]

    given = {key: value for key, value in request.items() if value is not None and value is not False}
    flags = [f"--{key}={value}" for key, value in given.items() if key not in {"width", "height"}]
    (second,) = _run_json(argv(*flags), capsys)

    assert Path(str(second["path"])).read_bytes() == Path(str(first["path"])).read_bytes()


def test_a_picture_of_a_batch_is_the_single_picture_of_its_seed(argv: Argv, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = ["--prompt", "a tree", "--precision", "full", "--sampler", "euler_a"]
    batch = _run_json(argv(*prompt, "--seed", "10", "--batch_size", "3"), capsys)
    (alone,) = _run_json(argv(*prompt, "--seed", "12"), capsys)

    assert [shown["seed"] for shown in batch] == [10, 11, 12]
    with Image.open(str(batch[2]["path"])) as one, Image.open(str(alone["path"])) as other:
        assert max(high for _, high in ImageChops.difference(one, other).getextrema()) <= 1


def test_prompts_of_a_file_and_iterations(argv: Argv, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clean / "prompts.txt").write_text("a cat\n\na dog\n")

    shown = _run_json(argv("--prompts_file", "prompts.txt", "--n-iter", "2", "--seed", "5", "--grid"), capsys)

    assert [one["seed"] for one in shown] == [5, 6, 5, 6]
    assert len(_pictures(clean / "out")) == 5


def test_a_line_of_a_file_may_have_flags(argv: Argv, clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clean / "prompts.txt").write_text(
        'a cat\n--prompt "a dog" --seed 9 --steps 3 --sampler_name "Euler a" --n_iter 2\n'
    )

    shown = _run_json(argv("--from-file", "prompts.txt", "--seed", "5"), capsys)

    assert [one["seed"] for one in shown] == [5, 9, 10]
    assert [(one["steps"], one["sampler"]) for one in shown[1:]] == [(3, "Euler a")] * 2


def test_a_network_of_nan_ends_in_an_error_and_no_file(
    argv: Argv, clean: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = clean.parent / "broken"
    shutil.copytree(tiny_model, broken)
    (weights,) = (broken / "unet").glob("*.safetensors")
    tensors = load_file(weights)
    save_file({name: torch.full_like(value, float("nan")) for name, value in tensors.items()}, weights)

    code = main(argv("--prompt", "x", "--ckpt", str(broken)))
    out, err = capsys.readouterr()

    assert code == 1
    assert out == ""
    assert "step 1" in err
    assert err.count("\n") == 1
    assert _pictures(clean) == []


def _truncated(clean: Path, tiny_model: Path) -> list[str]:
    data = next((tiny_model / "unet").glob("*.safetensors")).read_bytes()
    (clean.parent / "half.safetensors").write_bytes(data[: len(data) // 2])
    return ["--ckpt", str(clean.parent / "half.safetensors")]


def _text_file(clean: Path, tiny_model: Path) -> list[str]:
    (clean.parent / "text.safetensors").write_text("<html>Not found</html>\n" * 20)
    return ["--ckpt", str(clean.parent / "text.safetensors")]


def _unknown_family(clean: Path, tiny_model: Path) -> list[str]:
    import torch
    from safetensors.torch import save_file

    save_file({"layers.0.weight": torch.zeros(2, 2)}, clean.parent / "other.safetensors")
    return ["--ckpt", str(clean.parent / "other.safetensors")]


def _odd_size(clean: Path, tiny_model: Path) -> list[str]:
    return ["--resolution", "33x32"]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (_truncated, "half.safetensors"),
        (_text_file, "text.safetensors"),
        (_unknown_family, "other.safetensors"),
        (_odd_size, "multiple of 2"),
    ],
)
def test_bad_models_and_sizes_are_one_line(
    argv: Argv,
    clean: Path,
    tiny_model: Path,
    build: Callable[[Path, Path], list[str]],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(argv("--prompt", "x", *build(clean, tiny_model)))
    out, err = capsys.readouterr()

    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert _pictures(clean) == []


BAD = [
    ["--prompts_file", "empty.txt"],
    ["--prompt", "x", "--sampler", "eulerr"],
    ["--prompt", "x", "--steps", "0"],
    ["--prompt", "x", "--steps", "100000"],
    ["--prompt", "x", "--resolution", "1000000x64"],
    ["--prompt", "x", "--ckpt", "missing.safetensors"],
    ["--prompt", "x", "--model", "no-such-model"],
    ["--prompt", "x", "--outdir", "/proc/nothing"],
    ["--prompt", "x", "--device", "toaster"],
]


def test_bad_input_is_told_without_importing_torch(clean: Path) -> None:
    (clean.parent / "empty.txt").touch()
    code = """
import io, json, sys
from contextlib import redirect_stderr
from sfumato.cli import main
for argv in json.load(sys.stdin):
    text = io.StringIO()
    with redirect_stderr(text):
        code = main(["txt2img", *argv])
    print(json.dumps([code, text.getvalue(), "torch" in sys.modules]))
"""
    bad = json.dumps(BAD).replace("empty.txt", str(clean.parent / "empty.txt"))

    done = subprocess.run([sys.executable, "-c", code], input=bad, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]

    assert [code for code, _, _ in results] == [2] * len(BAD)
    assert [text.count("\n") for _, text, _ in results] == [1] * len(BAD)
    assert [torch for _, _, torch in results] == [False] * len(BAD)
    assert _pictures(clean) == []


def test_a_full_output_folder(argv: Argv, clean: Path) -> None:
    mounted = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    unshare = [*_unshare("-m"), "sh", "-c", mounted, str(clean)]

    done = subprocess.run(
        [*unshare, *PROGRAM, *argv("--prompt", "x", "--outdir", str(clean / "out"))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "is full" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_read_only_output_folder(argv: Argv, clean: Path) -> None:
    mounted = 'mount -t tmpfs -o ro tmpfs "$0" && exec "$@"'
    unshare = [*_unshare("-m"), "sh", "-c", mounted, str(clean)]

    done = subprocess.run(
        [*unshare, *PROGRAM, *argv("--prompt", "x", "--outdir", str(clean / "out"))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "read-only" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_picture_with_all_networking_denied(argv: Argv, clean: Path) -> None:
    done = subprocess.run(
        [*_unshare("-n"), *PROGRAM, *argv("--prompt", "x")], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert len(_pictures(clean / "out")) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")
def test_ctrl_c_on_a_terminal_stops_within_a_step_and_keeps_pictures(argv: Argv, clean: Path) -> None:
    import pty

    terminal, stderr = pty.openpty()
    command = [sys.executable, str(ROOT / "scripts" / "txt2img.py"), *argv("--prompt", "x", "--n_iter", "100000")[1:]]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [*command, "--steps", "40"], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment,
        # A shell's background jobs ignore Ctrl-C, and so would the program if the tests are one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        os.close(stderr)
        shown, watcher = _watch(terminal)
        assert process.stdout is not None
        first = process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        rest = process.stdout.read().split()
        process.wait(timeout=60)
    watcher.join()
    os.close(terminal)
    text = b"".join(shown).decode()

    assert process.returncode == 130
    assert time.perf_counter() - start < 5
    assert {Path(line) for line in [first, *rest]} == {path.relative_to(clean) for path in _pictures(clean)}
    assert "40/40" in text
    assert "it/s" in text
    assert f"Stopped; {1 + len(rest)} finished picture" in text
    assert "Traceback" not in text


def _watch(terminal: int) -> tuple[list[bytes], threading.Thread]:
    """Collects what comes to a pseudo-terminal until its other end is closed."""
    shown: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux tells the end of a pseudo-terminal by an error
            while data := os.read(terminal, 4096):
                shown.append(data)

    watcher = threading.Thread(target=read)
    watcher.start()
    return shown, watcher


def _unshare(flag: str) -> list[str]:
    """A command prefix with a namespace of its own, or the test is skipped where that is not allowed."""
    for command in (["unshare", flag], ["unshare", "-r", flag]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    pytest.skip("this system allows no namespaces")

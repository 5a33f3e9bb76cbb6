"""Commands, help pages and exit codes; help must stay fast and import nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from sfumato.cli import entry, main, txt2img_main
from sfumato.errors import NumericError, RequestError

HEAVY = {"torch", "pydantic", "pydantic_settings", "diffusers", "transformers", "numpy", "PIL", "rich"}
FLAGS = re.findall(
    r"--\w+",
    """--prompt --prompts_file --negative_prompt --steps --ddim_steps --width --height --W --H --resolution --seed
--sampler --scheduler --cfg_scale --scale --batch_size --n_samples --n_iter --model --ckpt --clip_skip --eta --precision
--device --outdir --format --grid --config --json --no_metadata --threads""",
)
PAGES = [["--help"], *([name, "--help"] for name in entry.COMMANDS)]


@pytest.mark.parametrize("argv", PAGES, ids=" ".join)
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys; from sfumato.cli import main; code = main(sys.argv[1:]);"
        f"heavy = {HEAVY!r} & set(sys.modules); sys.exit(repr(heavy) if heavy else code)"
    )

    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: sfumato")


def test_help_takes_less_than_three_tenths_of_a_second() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from sfumato.cli import main; main(['txt2img', '--help'])"],
            capture_output=True,
            check=True,
        )
        times.append(time.perf_counter() - start)

    assert min(times) < 0.3


def test_help_names_every_flag_and_alias(capsys: pytest.CaptureFixture[str]) -> None:
    assert txt2img_main(["--help"]) == 0
    page = capsys.readouterr().out

    for flag in FLAGS:
        assert f"{flag} " in page or f"{flag}," in page


def test_help_beside_other_flags_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["txt2img", "--steps", "3", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: sfumato txt2img")


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "txt2img" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nope"], "No such command 'nope'"),
        (["txt2img", "--step", "3"], "--steps"),
        (["txt2img", "--steps", "x"], "Invalid value for '--steps'"),
        (["txt2img", "--prompt"], "requires an argument"),
        (["info"], "Missing argument"),
        (["txt2img"], "say what to draw"),
    ],
)
def test_wrong_flags_are_one_line_and_exit_code_two(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()

    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RequestError("No."), 2, "Error: No.\n"),
        (NumericError("NaN at step 3."), 1, "Error: NaN at step 3.\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(json: bool = False) -> None:
        raise error

    monkeypatch.setitem(entry.COMMANDS, "samplers", fail)

    assert main(["samplers"]) == code
    assert capsys.readouterr().err == line


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(entry.COMMANDS, "samplers", fail)

    with pytest.raises(ZeroDivisionError):
        main(["samplers"])

"""Documentation is true: every example in README and docs runs, every flag and setting is there, every link leads.

Pictures are made with 2 steps and 64 pixels, whatever the example says, so that all examples together stay quick.
"""

from __future__ import annotations

import dataclasses
import doctest
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_FLAG = re.compile(r"(?<![\w-])--[a-z_]+(?<!_)", re.IGNORECASE)
_SETTING = re.compile(r"[A-Z_]+=")
#: What belongs to the machine and not to us: not run here.
FOREIGN = {"pip", "pytest", "git", "cd", "source", "unshare"}


def _blocks(*languages: str) -> list[object]:
    """The fenced blocks of all pages in these languages, named by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT).as_posix()}:{line}"))
    return found


@pytest.fixture
def work(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that examples name, in which pictures are small and quick."""
    from PIL import Image

    from sfumato.engine.studio import Studio
    from sfumato.gallery import files
    from sfumato.request import ImageInfo, Result, Txt2ImgRequest

    generate = Studio.generate

    def quickly(studio: Studio, request: Txt2ImgRequest, on_step: object = None) -> Result:
        small = dataclasses.replace(request, steps=min(request.steps, 2), width=64, height=64)
        return generate(studio, small, on_step)  # type: ignore[arg-type]

    monkeypatch.setattr(Studio, "generate", quickly)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFUMATO_THREADS", "1")
    monkeypatch.setenv("SFUMATO_MODEL__RESOLUTION", "64x64")  # for the worker processes of the queue
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "models").mkdir()
    shutil.copy(model, tmp_path / "models" / "my-model.safetensors")
    shutil.copy(ROOT / "config.yaml", tmp_path)
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    text = {"prompt": "a cat", "negative_prompt": "", "sampler": "Euler", "scheduler": "Karras", "model": "m"}
    number = {"seed": 7, "width": 64, "height": 64, "steps": 2, "cfg_scale": 7.0, "clip_skip": 1, "eta": None}
    info = ImageInfo(**text, **number, model_hash="0123456789", device="cpu", dtype="float32")
    files.save(Image.new("RGB", (64, 64)), info, tmp_path / "apples", "picture")
    Image.linear_gradient("L").save(tmp_path / "mask.png")
    return tmp_path


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        if words:
            yield words


@pytest.mark.parametrize("text", _blocks("bash", "sh", "console", "shell"))
def test_a_command_runs(text: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sfumato import cli

    for words in _commands(text):
        while _SETTING.match(words[0]):
            monkeypatch.setenv(*words.pop(0).split("=", 1))
        if words[0] in FOREIGN:
            continue
        if words[0] == "python":
            assert (ROOT / words[1]).is_file(), words[1]
            if not words[1].startswith("scripts/"):
                continue
            words = ["sfumato", Path(words[1]).stem, *words[2:]]
        assert words[0] == "sfumato", f"unknown program: {words}"
        code = cli.main(words[1:])
        assert code == 0 or (code == 1 and words[1] == "doctor"), words


@pytest.mark.parametrize("text", _blocks("python", "py"))
def test_python_runs(text: str, work: Path) -> None:
    if ">>>" in text:
        test = doctest.DocTestParser().get_doctest(text, {}, "example", None, 0)
        assert doctest.DocTestRunner().run(test).failed == 0
    else:
        exec(compile(text, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("text", _blocks("yaml", "yml"))
def test_settings_are_valid(text: str, tmp_path: Path) -> None:
    from sfumato import config

    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")

    sources = config.load(file, {}, {}).sources

    assert any(source != "default" for source in sources.values())


def _keys(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_every_setting_is_documented_with_its_default() -> None:
    from sfumato.config import Settings, load
    from sfumato.gallery.names import TOKENS

    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    file = (ROOT / "config.yaml").read_text(encoding="utf-8")
    known = dict(_keys(Settings().model_dump(mode="json")))

    assert {key for key in known if f"| `{key}` |" not in page} == set()
    assert set(known) == {key for key, _ in _keys(yaml.safe_load(file))}
    assert load(ROOT / "config.yaml", {}, {}).settings == Settings()
    for text in (page, file):
        assert {name for name in TOKENS if f"[{name}]" not in text} == set()


def test_every_flag_and_command_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    from sfumato.cli import entry

    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for command, pages in (
        ("txt2img", "cli.md"),
        ("img2img", "cli.md modes.md"),
        ("inpaint", "cli.md modes.md inpaint.md"),
        ("xyz", "cli.md xyz.md"),
        ("train", "train.md"),
        ("quantize", "quantize.md"),
        ("queue", "jobs.md"),
        ("webui", "webui.md"),
    ):
        text = "\n".join((ROOT / "docs" / one).read_text(encoding="utf-8") for one in pages.split())
        table = "\n".join(line for line in text.splitlines() if line.startswith("| `--"))
        entry.run([command, "--help"], "sfumato")
        shown = set(_FLAG.findall(capsys.readouterr().out))

        assert set(_FLAG.findall(table)) == shown - {"--help"}
    assert {name for name in entry.COMMANDS if f"sfumato {name}" not in page} == set()


def test_every_link_leads_somewhere() -> None:
    missing = [
        f"{page.name}: {link}"
        for page in PAGES
        for link in _LINK.findall(page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert missing == []

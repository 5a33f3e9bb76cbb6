"""Every place that a setting can come from, and every way that it can be wrong."""

from pathlib import Path

import pytest

from sfumato import config
from sfumato.config.reader import flatten
from sfumato.errors import ConfigError

ROOT = Path(__file__).parents[3]


def _file(folder, text):
    path = folder / "c.yaml"
    path.write_text(text)
    return path


def test_the_three_line_file_is_valid(tmp_path):
    text = "model:\n  type: 'stable-universe'\n  resolution: 512x512\n  steps: 50\n"

    settings = config.load(_file(tmp_path, text), {}, {}).settings

    assert (settings.model.type, settings.model.size, settings.model.steps) == ("stable-universe", (512, 512), 50)


def test_later_places_go_first(tmp_path):
    path = _file(tmp_path, "model:\n  steps: 10\n  cfg_scale: 5\n  clip_skip: 2\n")

    loaded = config.load(path, {"SFUMATO_MODEL__STEPS": "20", "SFUMATO_MODEL__CFG_SCALE": "6"}, {"model.steps": 30})

    model = loaded.settings.model
    assert (model.steps, model.cfg_scale, model.clip_skip) == (30, 6, 2)
    assert loaded.sources["model.steps"] == "--steps"
    assert loaded.sources["model.cfg_scale"] == "SFUMATO_MODEL__CFG_SCALE"
    assert loaded.sources["model.clip_skip"] == f"{path}:4"
    assert loaded.sources["device"] == "default"


def test_all_errors_at_once_with_file_line_key_and_nearest(tmp_path):
    path = _file(tmp_path, "model:\n  stesp: 5\n  steps: many\n  resolution: big\nsampler: Euler\n")

    with pytest.raises(ConfigError) as caught:
        config.load(path, {"SFUMATO_DEVICE": "gpu", "SFUMATO_NONSENSE": "1"}, {})

    lines = str(caught.value).splitlines()
    assert f"{path}:2: model.stesp: unknown key; nearest: model.steps" in lines
    assert f"{path}:5: sampler: unknown key; nearest: model.sampler" in lines
    assert any(line.startswith(f"{path}:3: model.steps: should be a valid integer") for line in lines)
    assert f"{path}:4: model.resolution: should be WIDTHxHEIGHT in pixels, such as 512x512, not 'big'" in lines
    assert any(line.startswith("SFUMATO_DEVICE: device: should be 'auto', 'cpu'") for line in lines)
    assert any(line.startswith("SFUMATO_NONSENSE: nonsense: unknown key; valid keys: model.type") for line in lines)
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n\tsteps: 5\n", ":2: not valid YAML"),
        ("device: cpu\ndevice: cuda\n", ":2: device: given twice"),
        ("model: fast\n", ":1: model: is a section"),
        ("- a\n- b\n", ":1: should be 'key: value' lines"),
        ("threads: 0\n", ":1: threads: should be greater than or equal to 1, not 0"),
        ("model:\n  resolution: 0\n", ":2: model.resolution"),
    ],
)
def test_a_wrong_file_names_the_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as caught:
        config.load(_file(tmp_path, text), {}, {})

    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "model:\n"])
def test_an_empty_file_changes_nothing(tmp_path, text):
    loaded = config.load(_file(tmp_path, text), {}, {})

    assert loaded.settings == config.Settings()


def test_no_file_is_needed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert config.load(None, {}, {}).settings == config.Settings()


def test_a_named_file_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        config.load(tmp_path / "none.yaml", {}, {})


def test_the_root_file_explains_every_key_and_gives_the_defaults():
    loaded = config.load(ROOT / "config.yaml", {}, {})

    assert loaded.settings == config.Settings()
    assert "default" not in loaded.sources.values()


def test_the_users_own_file_is_read_where_there_is_none_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "home" / "sfumato" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("model:\n  steps: 11\n")
    monkeypatch.setattr("sys.platform", "linux")

    assert config.load(None, {"XDG_CONFIG_HOME": str(tmp_path / "home")}, {}).settings.model.steps == 11

    Path("config.yaml").write_text("model:\n  steps: 12\n")
    assert config.load(None, {"XDG_CONFIG_HOME": str(tmp_path / "home")}, {}).settings.model.steps == 12


@pytest.mark.parametrize("text", ["threads: yes\n", "model:\n  steps: on\n", "model:\n  cfg_scale: true\n"])
def test_a_switch_is_not_a_number(tmp_path, text):
    with pytest.raises(ConfigError, match=r"should be a number, not true"):
        config.load(_file(tmp_path, text), {}, {})


def test_flags_are_named_as_they_are_typed():
    sources = config.load(None, {}, {"model.type": "x", "output.dir": "o", "model.steps": 3}).sources

    assert (sources["model.type"], sources["output.dir"], sources["model.steps"]) == ("--model", "--outdir", "--steps")


def test_flatten_keeps_order() -> None:
    assert list(flatten({"b": {"z": 1, "a": 2}, "a": 3})) == ["b.z", "b.a", "a"]

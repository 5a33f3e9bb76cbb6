"""Each finding, and the fix that it names."""

from __future__ import annotations

import importlib.metadata
import json
import types
from pathlib import Path

import pytest

from sfumato.cli import doctor, main


def _facts(**given: object) -> types.SimpleNamespace:
    facts = {
        "kind": "cpu",
        "name": "A CPU",
        "total_memory": 8 << 30,
        "free_memory": 6 << 30,
        "bf16": True,
        "fp16": False,
    }
    return types.SimpleNamespace(**{**facts, "cpu_features": ("avx512f", "amx_bf16"), **given})


def test_an_uninstalled_package_is_a_fault_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch<2.14,>=2.6", "no-such-package>=1", 'pytest>=8; extra == "test"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)

    (finding,) = doctor.check_packages()

    assert finding.state == "fault"
    assert finding.fix == 'pip install "no-such-package>=1"'


def test_a_package_out_of_range_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["a>=2.0,<3"])

    states = {}
    for version in ("1.9", "2.0", "2.14.1+cpu", "3.0"):
        monkeypatch.setattr(importlib.metadata, "version", lambda _, version=version: version)
        states[version] = next(doctor.check_packages()).state

    assert states == {"1.9": "fault", "2.0": "ok", "2.14.1+cpu": "ok", "3.0": "fault"}


def test_no_install_at_all_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", missing)

    assert next(doctor.check_packages()).fix == "pip install -e ."


def test_a_wrong_config_is_a_fault_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model:\n  stepps: 3\n")

    settings, finding = doctor.check_config(tmp_path / "c.yaml")

    assert settings is None
    assert finding.state == "fault"
    assert "c.yaml:2" in finding.found


def test_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert doctor.check_output(tmp_path / "new", "[number]").state == "ok"
    assert doctor.check_output(tmp_path / "file", "[number]").state == "fault"
    assert doctor.check_output(tmp_path, "[nonsense]").state == "fault"


def test_a_device_shows_memory_formats_and_features() -> None:
    (finding,) = doctor.check_devices(lambda: [_facts()])

    assert finding.state == "ok"
    assert finding.found == "A CPU, 6.0 GiB of 8.0 GiB free, fast bf16 (avx512f amx_bf16)"


def test_little_free_memory_is_a_warning() -> None:
    (finding,) = doctor.check_devices(lambda: [_facts(free_memory=1 << 30, bf16=False, cpu_features=())])

    assert finding.state == "warning"
    assert finding.found.endswith("float32 only")
    assert "close other programs" in finding.fix


def test_a_cpu_build_beside_a_gpu_names_the_right_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_build", lambda _: "CPU")
    monkeypatch.setattr(doctor.shutil, "which", lambda tool: tool if tool == "nvidia-smi" else None)

    finding = doctor.check_torch()

    assert finding.state == "warning"
    assert finding.fix == f'pip install --force-reinstall "torch<2.14" --index-url {doctor._NVIDIA_WHEELS}'


def test_a_fault_ends_in_exit_code_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fault = doctor.Finding(what="x", state="fault", found="broken", fix="mend it")
    monkeypatch.setattr(doctor, "examine", lambda _: iter([fault]))

    assert main(["doctor"]) == 1
    assert capsys.readouterr().out == "FAULT x: broken\n        fix: mend it\n"


def test_doctor_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    code = main(["doctor", "--json"])
    findings = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}

    assert {"python", "config", "output folder", "torch", "cpu", "threads", "models"} <= set(findings)
    assert code == int(any(finding["state"] == "fault" for finding in findings.values()))
    assert all(finding["fix"] for finding in findings.values() if finding["state"] != "ok")
    assert list(tmp_path.iterdir()) == []

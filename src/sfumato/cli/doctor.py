"""``doctor``: what this machine has, what is wrong with it, and the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from sfumato.errors import SfumatoError
from sfumato.gallery import files, names

OLDEST_PYTHON = (3, 10)
#: A full-size SD 1.5 picture in bfloat16 takes about this much, in bytes.
ENOUGH_MEMORY = 4 << 30
#: Free space for some hundred pictures, in bytes.
ENOUGH_DISK = 200 << 20
#: Where builds for GPUs are. On Linux those of PyPI are for NVIDIA; elsewhere they are on PyTorch's own index.
_NVIDIA_WHEELS = "https://pypi.org/simple" if sys.platform == "linux" else "https://download.pytorch.org/whl/cu128"
_AMD_WHEELS = "https://download.pytorch.org/whl/rocm6.4"
_MARK = {"ok": "ok    ", "warning": "note  ", "fault": "FAULT "}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``fix`` is a command or the very thing to do, empty when all is well."""

    what: str
    state: Literal["ok", "warning", "fault"]
    found: str
    fix: str = ""


def run(config_path: Path | None, as_json: bool) -> None:
    """Prints every finding; exit code 1 when one of them is a fault."""
    findings: list[Finding] = []
    for finding in examine(config_path):
        findings.append(finding)
        if not as_json:
            typer.echo(line(finding))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


def line(finding: Finding) -> str:
    """A finding as people read it."""
    text = f"{_MARK[finding.state]}{finding.what}: {finding.found}"
    return f"{text}\n        fix: {finding.fix}" if finding.fix else text


def examine(config_path: Path | None) -> Iterator[Finding]:
    """All findings, the cheap ones first. No check stops the next."""
    yield check_python()
    yield from check_packages()
    settings, finding = check_config(config_path)
    yield finding
    if settings is not None:
        yield check_output(Path(settings.output.dir), settings.output.pattern)
    if importlib.util.find_spec("torch") is None:
        return
    yield check_torch()
    yield from check_devices()
    yield check_threads()
    if settings is not None:
        yield check_models(Path(settings.models_dir))


def check_python() -> Finding:
    """Version and platform."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding(what="python", state="fault", found=found, fix="install Python 3.10 or newer")
    return Finding(what="python", state="ok", found=found)


def check_packages() -> Iterator[Finding]:
    """Every required package, against the versions that the install asks for."""
    try:
        required = importlib.metadata.requires("sfumato") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(what="install", state="fault", found="sfumato is not installed", fix="pip install -e .")
        return
    wanted = [entry for entry in required if "extra ==" not in entry]
    missing = [entry for entry in wanted if not _installed(entry)]
    if missing:
        fix = "pip install " + " ".join(f'"{entry.split(";")[0].strip()}"' for entry in missing)
        yield Finding(what="packages", state="fault", found="missing or too old: " + ", ".join(missing), fix=fix)
    else:
        yield Finding(what="packages", state="ok", found=f"all {len(wanted)} required ones")


def check_config(path: Path | None) -> tuple[Any, Finding]:
    """The settings if they are valid, and the finding."""
    from sfumato import config

    try:
        loaded = config.load(path, os.environ, {})
    except SfumatoError as error:
        return None, Finding(what="config", state="fault", found=str(error), fix="edit the lines named above")
    changed = sorted({source.rpartition(":")[0] or source for source in loaded.sources.values() if source != "default"})
    return loaded.settings, Finding(
        what="config", state="ok", found="valid; from " + (", ".join(changed) or "defaults")
    )


def check_output(folder: Path, pattern: str) -> Finding:
    """Whether pictures can be written."""
    try:
        names.check_pattern(pattern)
        files.check_writable(folder, need_bytes=ENOUGH_DISK)
    except SfumatoError as error:
        return Finding(what="output folder", state="fault", found=str(error), fix="set output.dir in config.yaml")
    return Finding(what="output folder", state="ok", found=f"{folder.absolute()} is writable")


def check_torch() -> Finding:
    """Version and build, and whether the build fits the hardware."""
    try:
        import torch
    except (ImportError, OSError) as error:
        reinstall = 'pip install --force-reinstall "torch<2.14" --index-url https://download.pytorch.org/whl/cpu'
        return Finding(what="torch", state="fault", found=f"cannot be imported: {error}", fix=reinstall)
    build = _build(torch.version)
    found = f"{torch.__version__}, {build} build"
    for tool, maker, wheels in (("nvidia-smi", "NVIDIA", _NVIDIA_WHEELS), ("rocm-smi", "AMD", _AMD_WHEELS)):
        if build == "CPU" and shutil.which(tool):
            fix = f'pip install --force-reinstall "torch<2.14" --index-url {wheels}'
            return Finding(what="torch", state="warning", found=f"{found}, which can't use the {maker} GPU", fix=fix)
    return Finding(what="torch", state="ok", found=found)


def check_devices(all_devices: Callable[[], Any] | None = None) -> Iterator[Finding]:
    """Every device with memory and number formats."""
    if all_devices is None:
        from sfumato.runtime.device import all_devices
    for facts in all_devices():
        formats = [name for name, there in (("bf16", facts.bf16), ("fp16", facts.fp16)) if there]
        found = f"{facts.name}, {_gib(facts.free_memory)} of {_gib(facts.total_memory)} free"
        found += f", fast {' and '.join(formats)}" if formats else ", float32 only"
        if facts.cpu_features:
            found += f" ({' '.join(facts.cpu_features)})"
        low = facts.free_memory < ENOUGH_MEMORY
        fix = f"close other programs: full-size models want {_gib(ENOUGH_MEMORY)} free" if low else ""
        yield Finding(what=facts.kind, state="warning" if low else "ok", found=found, fix=fix)


def check_threads() -> Finding:
    """How many threads torch takes, against the cores that this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    if threads > cores:
        fix = f"set threads: {cores} in config.yaml, or OMP_NUM_THREADS={cores}"
        return Finding(what="threads", state="warning", found=f"{threads} for {cores} cores", fix=fix)
    return Finding(what="threads", state="ok", found=f"{threads} for {cores} cores")


def check_models(folder: Path) -> Finding:
    """Models in the folder, and the built-in one."""
    from sfumato.cli.listing import find_models

    try:
        found = [model["name"] for model in find_models(folder)]
    except SfumatoError as error:
        return Finding(what="models", state="fault", found=str(error), fix=f"mend or remove it in {folder.absolute()}")
    if not found:
        fix = f"put a .safetensors file into {folder.absolute()}, or install again: pip install --force-reinstall -e ."
        return Finding(what="models", state="fault", found="none", fix=fix)
    return Finding(what="models", state="ok", found=", ".join(found))


def _installed(requirement: str) -> bool:
    """Whether a requirement such as ``torch>=2.6,<2.14`` is met; compares release numbers only."""
    match = re.match(r"[\w.-]+", requirement)
    if match is None:
        return True
    try:
        version = _release(importlib.metadata.version(match.group()))
    except importlib.metadata.PackageNotFoundError:
        return False
    limits = re.findall(r"(>=|<)\s*([\d.]+)", requirement[match.end() :].split(";")[0])
    return all(version >= _release(limit) if sign == ">=" else version < _release(limit) for sign, limit in limits)


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _build(version: Any) -> str:
    for name, label in (("cuda", "CUDA"), ("hip", "ROCm"), ("xpu", "XPU")):
        if number := getattr(version, name, None):
            return f"{label} {number}"
    return "CPU"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"

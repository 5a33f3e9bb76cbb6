"""What this machine has: facts for the pure decisions, gathered when asked and not before."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

from sfumato.errors import DeviceError, nearest

#: Tried in this order for ``auto``.
KINDS = ("cuda", "xpu", "mps", "cpu")
_WANTED_FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "bf16", "asimd", "fphp")


@dataclass(frozen=True)
class DeviceFacts:
    """One device. Memory in bytes; ``bf16`` and ``fp16`` say that products in that type are native and fast."""

    kind: str
    name: str
    total_memory: int
    free_memory: int
    bf16: bool
    fp16: bool
    cpu_features: tuple[str, ...] = ()


def probe(kind: str = "auto") -> DeviceFacts:
    """The facts of a device, or with ``auto`` of the best one.

    Raises:
        DeviceError: there is no such device here; the message names those that there are.
    """
    import torch

    if kind != "auto" and kind not in KINDS:
        choices = f"choose auto, {', '.join(KINDS)}; {nearest(kind, KINDS)}".rstrip("; ")
        raise DeviceError(f"unknown device {kind!r}; {choices}")
    found = {facts.kind: facts for facts in all_devices()}
    if kind == "auto":
        return next(found[k] for k in KINDS if k in found)
    if kind not in found:
        raise DeviceError(
            f"device {kind!r} is not available: torch {torch.__version__} sees only {', '.join(found)}; "
            f"use --device {next(iter(found))} or install the torch build for {kind}"
        )
    return found[kind]


def quick(kind: str = "auto") -> DeviceFacts:
    """As :func:`probe`, without importing torch where there can be nothing but a CPU.

    Raises:
        DeviceError: as :func:`probe`.
    """
    drivers = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")
    plain = platform.system() == "Linux" and not any(Path(driver).exists() for driver in drivers)
    return _cpu() if kind == "cpu" or (kind == "auto" and plain) else probe(kind)


def all_devices() -> list[DeviceFacts]:
    """Every device that torch can use, the best first; the CPU is always the last."""
    import torch

    found = []
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        major = torch.cuda.get_device_capability()[0]
        found.append(DeviceFacts("cuda", torch.cuda.get_device_name(), total, free, major >= 8, major >= 6))
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        total = torch.xpu.get_device_properties().total_memory
        found.append(DeviceFacts("xpu", torch.xpu.get_device_name(), total, total, True, True))
    if torch.backends.mps.is_available():
        total = psutil.virtual_memory().total
        found.append(DeviceFacts("mps", platform.machine(), total, psutil.virtual_memory().available, False, True))
    return [*found, _cpu()]


def _cpu() -> DeviceFacts:
    features = cpu_features()
    memory = psutil.virtual_memory()
    bf16 = bool({"avx512_bf16", "amx_bf16", "bf16"} & set(features))
    return DeviceFacts("cpu", _cpu_name(), memory.total, memory.available, bf16, False, features)


@functools.cache
def cpu_features() -> tuple[str, ...]:
    """The features that matter here and that this processor has, under Linux's names."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.split(":")[0].strip().lower() in ("flags", "features"):
                have = set(line.split(":", 1)[1].split())
                return tuple(f for f in _WANTED_FEATURES if f in have)
    import torch

    capability = torch.backends.cpu.get_cpu_capability().lower()
    return tuple(f for f in ("avx2", "avx512f") if f.removesuffix("f") in capability)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

"""Model files by their headers alone: what each is, what it takes in memory, and why one would not load.

Remembered by path, size and time of change in the user's cache folder. Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sfumato.errors import CheckpointError, OutputError, printable
from sfumato.runtime.atomic import write_whole
from sfumato.runtime.plan import INT8
from sfumato.weights.detect import LABELS, LOADABLE, Kind, detect, needs, part_of
from sfumato.weights.digest import cache_file, stamp
from sfumato.weights.dtypes import bytes_of, is_float, is_packed
from sfumato.weights.gguf_header import read_gguf_header
from sfumato.weights.header import FOLDER_FILE, Header, TensorInfo, format_of, read_header
from sfumato.weights.pickle_header import read_pickle_header

#: What model files are called.
ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
#: Bytes of a weight in memory at each precision.
WIDTHS: Mapping[str, float] = {"full": 4, "half": 2, "bf16": 2, "int8": INT8}
#: Goes up when surveys of the same files would say something else.
_VERSION = 3
#: In a diffusers folder, what says how its networks were trained.
_SCHEDULER = "scheduler/scheduler_config.json"
#: What goes on or into a model.
ADAPTERS = ("lora", "embedding")


@dataclass(frozen=True)
class Survey:
    """What a file's or folder's headers say.

    Attributes:
        dtypes: numbers by type. parts: numbers by network. memory: bytes by precision, and ``as stored``.
        problem: why it would not load, or none.
    """

    path: str
    bytes: int
    kind: str = "unknown"
    family: str = ""
    variant: str = ""
    prediction: str = ""
    tensors: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


def any_header(path: Path) -> Header:
    """The tensors of a model file of any kind, told by its content.

    Raises:
        CheckpointError: it is damaged, no model's file, or wants to run code.
    """
    kind = format_of(path)
    if kind == "gguf":
        return read_gguf_header(path).header
    return read_pickle_header(path) if kind == "pytorch" else read_header(path)


def folder_header(path: Path) -> Header:
    """All tensors of a diffusers folder, with the part's name before each.

    Raises:
        CheckpointError: there are none, or a file is damaged.
    """
    tensors: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for part in sorted(path.iterdir()):
        weights = sorted(part.glob("*.safetensors")) if part.is_dir() else []
        plain = [file for file in weights if ".fp16" not in file.name and ".bf16" not in file.name]
        for file in plain or weights:
            header = read_header(file)
            tensors |= {f"{part.name}.{name}": info for name, info in header.tensors.items()}
            metadata |= header.metadata
    if not tensors:
        raise CheckpointError(f"{path}: there are no weights in its folders")
    return Header(tensors, metadata)


def survey(path: Path) -> Survey:
    """What a file, or a diffusers folder, is. What can't be read is said in ``problem``."""
    try:
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            said = _predicted(lambda: (path / _SCHEDULER).read_text("utf-8"))
            return replace(_describe(path, size, folder_header(path)), **said)
        header = any_header(path)
        said = _predicted(lambda: header.metadata.get(FOLDER_FILE + _SCHEDULER, "{}"))
        return replace(_describe(path, path.stat().st_size, header), **said)
    except CheckpointError as error:
        size = path.stat().st_size if path.is_file() else 0
        return Survey(str(path), size, problem=str(error).removeprefix(f"{path}: "))


def _predicted(read: Callable[[], str]) -> dict[str, str]:
    """What a diffusers folder's scheduler says that its networks predict."""
    with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
        said = json.loads(read())
        if isinstance(prediction := said.get("prediction_type"), str):
            return {"prediction": prediction}
    return {}


def _describe(path: Path, size: int, header: Header) -> Survey:
    kind = detect(header)
    heads: Counter[tuple[str, str]] = Counter()
    for name, info in header.tensors.items():
        heads[name.partition(".")[0], info.dtype] += info.numbers
    sums: Counter[tuple[str, str]] = Counter()
    for (head, dtype), numbers in heads.items():
        sums[part_of(head, kind.kind), dtype] += numbers
    dtypes: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for (part, dtype), numbers in sums.items():
        dtypes[dtype] += numbers
        parts[part] += numbers
    used = [(dtype, numbers) for (part, dtype), numbers in sums.items() if part != "ema"]
    return Survey(
        str(path), size, kind.kind, kind.family, kind.variant, kind.prediction, len(header.tensors),
        dict(dtypes.most_common()), dict(parts.most_common()), memory_of(used), _problem(kind, header),
    )  # fmt: skip


def memory_of(sums: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Bytes in memory at each precision of so many numbers by type; of packed types also as they are stored."""
    out = {
        name: sum(int(numbers * width) if is_float(dtype) else bytes_of(dtype, numbers) for dtype, numbers in sums)
        for name, width in WIDTHS.items()
    }
    if any(is_packed(dtype) for dtype, _ in sums):
        out["packed"] = sum(bytes_of(dtype, numbers) for dtype, numbers in sums)
    return out


def _problem(kind: Kind, header: Header) -> str:
    """Why it would not load; what only a full look at every tensor tells is left to loading."""
    if kind.kind in ADAPTERS:
        return ""
    if kind.kind == "unknown":
        return "of no kind that is known, such as " + ", ".join(
            printable(name[:80]) for name in sorted(header.tensors)[:3]
        )
    if kind.kind == "unet" and kind.family in LOADABLE:
        return needs(header)
    if kind.kind != "checkpoint":
        return f"{'an' if kind.kind[0] in 'aeiou' else 'a'} {kind.kind} alone, which is no whole model"
    if kind.family not in LOADABLE:
        return f"{LABELS[kind.family]} can't be loaded yet; {', '.join(LABELS[name] for name in LOADABLE)} can"
    return ""


def find(paths: Sequence[Path]) -> Iterator[Path]:
    """The files and diffusers folders among these paths and in these folders.

    Raises:
        CheckpointError: there is nothing at one of them.
    """
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise CheckpointError(f"{path}: there is no such file or folder")
            yield path
        elif (path / "model_index.json").is_file():
            yield path
        else:
            yield from _inside(path)


def _inside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from find([path])
        elif path.suffix.lower() in ENDINGS:
            yield path


def surveys(paths: Sequence[Path]) -> list[Survey]:
    """One survey for each model among these paths, from memory where the file is the same."""
    store = cache_file().with_name("surveys.json")
    known = _read(store)
    fresh: dict[str, Any] = {}
    found = []
    for path in find(paths):
        key = _key(path)
        if key in known:
            with contextlib.suppress(TypeError):
                found.append(Survey(**{**known[key], "path": str(path)}))
                continue
        found.append(survey(path))
        if key:
            fresh[key] = asdict(found[-1])
    if fresh:
        with contextlib.suppress(OutputError):  # a cache that can't be written costs time and nothing else
            write_whole(store, json.dumps({"version": _VERSION, "files": known | fresh}).encode())
    return found


def _key(path: Path) -> str:
    """Another when the file is another; none for folders, whose files may change by themselves."""
    return ":".join(map(str, stamp(path))) if path.is_file() else ""


def _read(store: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        content = json.loads(store.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("version") == _VERSION and isinstance(content.get("files"), dict):
            return content["files"]
    return {}

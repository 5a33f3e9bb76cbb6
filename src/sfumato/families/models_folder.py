"""The models that there are: what lies in the models folders, and the built-in one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sfumato.errors import CheckpointError, nearest

#: What programs call the folders of LoRAs and of embeddings, ours first; in any case.
LORAS = ("loras", "lora", "lycoris")
EMBEDDINGS = ("embeddings",)
PREVIEWS = ("vae_approx",)
VAES = ("vae", *PREVIEWS)
TEXT_ENCODERS = ("text_encoders", "text_encoder", "clip")
UPSCALERS = ("upscalers", "upscale_models", "esrgan", "realesrgan")
#: Folders whose files are no models.
NO_MODELS = (*LORAS, *EMBEDDINGS, *VAES, *TEXT_ENCODERS, *UPSCALERS)
#: What model files are called.
ENDINGS = (".safetensors", ".ckpt", ".gguf")
#: What files of single networks are called.
PART_ENDINGS = (*ENDINGS, ".pt")
#: By family, how the published tiny decoders' files are called; those of one depth are no hint which latents they read.
PREVIEW_NAMES: Mapping[str, str] = {
    "sd1": "taesd", "sd2": "taesd", "sdxl": "taesdxl", "sdxl-refiner": "taesdxl", "sd3": "taesd3",
}  # fmt: skip
BUILT_IN = Path(__file__).parent.parent / "builtin"


def list_models(folders: Sequence[Path]) -> dict[str, Path]:
    """Names to paths, the built-in models first: files and diffusers folders."""
    found = {path.name: path for path in sorted(BUILT_IN.glob("*/")) if is_model(path)}
    for folder in folders:
        for path in sorted(_candidates(folder)):
            found.setdefault(display_name(path), path)
    return found


def _candidates(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.rglob("*"):
            inside = any(is_model(parent) for parent in path.parents if parent != folder)
            above = path.relative_to(folder).parts[:-1]
            if is_model(path) and not inside and not any(part.casefold() in NO_MODELS for part in above):
                yield path


def list_loras(folders: Sequence[Path]) -> dict[str, Path]:
    """Names to the LoRA files of the models folders."""
    return _list(folders, LORAS)


def list_embeddings(folders: Sequence[Path]) -> dict[str, Path]:
    """Names to the embeddings of the models folders."""
    return _list(folders, EMBEDDINGS)


def list_vaes(folders: Sequence[Path]) -> dict[str, Path]:
    """Names to the autoencoders of the models folders, large and tiny."""
    return _list(folders, VAES, PART_ENDINGS)


def list_upscalers(folders: Sequence[Path]) -> dict[str, Path]:
    """Names to the upscaling networks of the models folders."""
    return _list(folders, UPSCALERS, (".safetensors", ".pth", ".pt"))


def find_preview(family: str, folders: Sequence[Path]) -> Path | None:
    """The family's tiny decoder in a ``vae_approx`` folder: ``taesd_decoder.safetensors``, ``taesdxl.pth`` and such."""
    name = PREVIEW_NAMES.get(family, "")
    known = {found.casefold(): path for found, path in _list(folders, PREVIEWS, (*PART_ENDINGS, ".pth")).items()}
    return known.get(f"{name}_decoder") or known.get(name)


def find_parts(names: str, kind: str, folders: Sequence[Path]) -> tuple[Path, ...]:
    """The files of one or several networks, by names or paths with commas between.

    Args:
        kind: ``vae`` or ``text_encoder``: what the flag is called.

    Raises:
        CheckpointError: one is not there; the message names the nearest and where it is looked for.
    """
    kinds = VAES if kind == "vae" else TEXT_ENCODERS
    known, found = _list(folders, kinds, PART_ENDINGS), []
    for name in filter(None, (name.strip() for name in names.split(","))):
        path = known.get(name) or _existing(name)
        if path is None:
            where = ", ".join(str(folder / kinds[0]) for folder in folders)
            close = nearest(name, known) or "there are: " + (", ".join(known) or "none")
            raise CheckpointError(f"--{kind} {name!r}: neither a file nor a name in {where}; {close}")
        found.append(path)
    return tuple(found)


def _list(folders: Sequence[Path], kinds: Sequence[str], endings: Sequence[str] = (".safetensors",)) -> dict[str, Path]:
    """The files with these endings in all folders of these kinds, at any depth; of two with one name the first."""
    found: dict[str, Path] = {}
    for home in _homes(folders, kinds):
        for path in sorted(home.rglob("*")):
            if path.suffix.lower() in endings and path.is_file():
                found.setdefault(path.stem, path)
    return found


def _homes(folders: Sequence[Path], kinds: Sequence[str]) -> list[Path]:
    """The folders with one of these names in the models folders: those directly in them first, then deeper ones."""
    found: list[Path] = []
    for folder in folders:
        own: list[Path] = []
        for where, inside, files in os.walk(folder):
            if "model_index.json" in files and Path(where) != folder:
                inside.clear()
            own += [Path(where, name) for name in inside if name.casefold() in kinds]
            inside[:] = [name for name in inside if name.casefold() not in NO_MODELS]
        found += sorted(own, key=lambda path: (len(path.parts), kinds.index(path.name.casefold()), path))
    return found


def is_model(path: Path) -> bool:
    """A ``.safetensors``, ``.ckpt`` or ``.gguf`` file, or a folder with a ``model_index.json``."""
    return (path / "model_index.json").is_file() if path.is_dir() else path.suffix.lower() in ENDINGS


def display_name(path: Path) -> str:
    """The folder's name, or the file's without its ending."""
    return path.name if path.is_dir() else path.stem


def size_of(path: Path) -> int:
    """Bytes of a model's file, or of all files in its folder.

    Raises:
        CheckpointError: it can't be read.
    """
    try:
        files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files)
    except OSError as error:
        raise CheckpointError(f"model {path.name} can't be read: {error.strerror}") from error


def find(name: str | Path, folders: Sequence[Path]) -> Path:
    """The model of that name, or the path itself if it is one.

    Raises:
        CheckpointError: there is neither; the message names the nearest and where models are looked for.
    """
    known = list_models(folders)
    if str(name) in known:
        return known[str(name)]
    if (path := _existing(name)) is not None:
        return path
    where = ", ".join(str(folder) for folder in folders)
    close = nearest(str(name), known)
    raise CheckpointError(
        f"model {str(name)!r} is not there: neither a file nor a name in {where}; "
        + (close or "there are: " + ", ".join(known))
    )


def _existing(name: str | Path) -> Path | None:
    """The path, if something is there; None for what can be no path, or lies where one may not look."""
    try:
        path = Path(name).expanduser()
        return path if str(name) and path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None

"""The command line. Parsing flags and ``--help`` import neither torch nor pydantic; commands import what they need."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The program ``sfumato``; ``argv`` without the program name, by default from `sys.argv`. Returns the exit code."""
    try:
        from sfumato.cli.entry import run
    except KeyboardInterrupt:  # Ctrl-C before there is anything that could be said
        return 130
    return run(argv, "sfumato")


def train_main(argv: Sequence[str] | None = None) -> int:
    """The script ``train.py``: the same as ``sfumato train``."""
    try:
        from sfumato.cli.entry import run_command
    except KeyboardInterrupt:
        return 130
    return run_command("train", argv, "train.py")


def quantize_main(argv: Sequence[str] | None = None) -> int:
    """The script ``quantize.py``: the same as ``sfumato quantize``."""
    try:
        from sfumato.cli.entry import run_command
    except KeyboardInterrupt:
        return 130
    return run_command("quantize", argv, "quantize.py")


def webui_main(argv: Sequence[str] | None = None) -> int:
    """The script ``webui.py``: the same as ``sfumato webui``."""
    try:
        from sfumato.cli.entry import run_command
    except KeyboardInterrupt:
        return 130
    return run_command("webui", argv, "webui.py")


def txt2img_main(argv: Sequence[str] | None = None) -> int:
    """The script ``txt2img.py``: the same as ``sfumato txt2img``."""
    try:
        from sfumato.cli.entry import run_command
    except KeyboardInterrupt:
        return 130
    return run_command("txt2img", argv, "txt2img.py")

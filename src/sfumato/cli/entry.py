"""Running a command: the one place where errors become a line on standard error and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.main

from sfumato.cli import flags
from sfumato.cli.commands import COMMANDS
from sfumato.errors import SfumatoError

INTERRUPTED = 130
#: typer's own errors for wrong flags; the class is public only as the base of this one.
_FlagError: type[BaseException] = next(b for b in typer.BadParameter.__mro__ if b.__name__ == "ClickException")


def _same_dashes(token: str) -> str:
    return token.replace("-", "_")


_HELP = ("--help", "-h")
_CONTEXT = {"token_normalize_func": _same_dashes, "help_option_names": _HELP, "max_content_width": 100}


def run(argv: Sequence[str] | None, program: str) -> int:
    """Runs the command that ``argv`` names."""
    given = list(sys.argv[1:] if argv is None else argv)
    app = _new_app()
    for name, command in COMMANDS.items():
        app.command(name, context_settings=_CONTEXT)(command)
    app.callback(invoke_without_command=True)(_group)
    return _guarded(app, given or ["--help"], program)


def run_command(name: str, argv: Sequence[str] | None, program: str) -> int:
    """Runs one command without naming it."""
    app = _new_app()
    app.command(context_settings=_CONTEXT)(COMMANDS[name])
    return _guarded(app, list(sys.argv[1:] if argv is None else argv), program)


def _new_app() -> typer.Typer:
    # Plain help: rich's would take as long to import as everything else together.
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, context_settings=_CONTEXT
    )


def _group(version: flags.Version = False) -> None:
    """Words to pictures on your own computer, with nothing sent anywhere."""
    if version:
        from sfumato.cli.show import show_version

        show_version()
        raise typer.Exit


def _guarded(app: typer.Typer, argv: list[str], program: str) -> int:
    """The exit code of ``app``; errors that a user can act on are printed as they are, with no stack trace."""
    try:
        if argv[-1:] and argv[-1] in _HELP and len(argv) <= 2 and (page := _help(app, argv[:-1], program)):
            typer.echo(page)
            return 0
        code: Any = app(argv, prog_name=program, standalone_mode=False)
    except SfumatoError as error:
        return _fail(str(error), error.exit_code)
    except _FlagError as error:
        return _fail(getattr(error, "format_message", error.__str__)(), getattr(error, "exit_code", 2))
    except KeyboardInterrupt:
        return _fail("Stopped.", INTERRUPTED)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    return code if isinstance(code, int) else 0


def _help(app: typer.Typer, names: list[str], program: str) -> str | None:
    """A help page without parsing any flag: to parse one, typer imports pydantic, which doubles the time."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name=program, **command.context_settings)
    for name in names:
        command = getattr(command, "commands", {}).get(name)
        if command is None:
            return None
        context = command.context_class(command, info_name=name, parent=context, **command.context_settings)
    return command.get_help(context)


def _fail(message: str, code: int) -> int:
    typer.echo(f"Error: {message}" if code != INTERRUPTED else message, err=True)
    return code

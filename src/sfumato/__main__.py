"""``python -m sfumato`` is the program ``sfumato``."""

from sfumato.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

from sfumato.cli import quantize_main

if __name__ == "__main__":
    raise SystemExit(quantize_main())

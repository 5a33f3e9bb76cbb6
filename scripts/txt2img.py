from sfumato.cli import txt2img_main

if __name__ == "__main__":
    raise SystemExit(txt2img_main())

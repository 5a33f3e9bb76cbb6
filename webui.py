from sfumato.cli import webui_main

if __name__ == "__main__":
    raise SystemExit(webui_main())

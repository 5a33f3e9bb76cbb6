"""A button that copies a picture, to be pasted into another program."""

from __future__ import annotations

from nicegui import ui
from nicegui.events import GenericEventArguments

from sfumato.server.ui.words import say

#: In the browser, since only what a person has just pressed may copy; as PNG, which is all that browsers take.
_COPY = """async (event) => {
  const url = event.currentTarget.dataset.url;
  const png = async () => {
    const seen = await createImageBitmap(await (await fetch(url)).blob());
    const canvas = new OffscreenCanvas(seen.width, seen.height);
    canvas.getContext("2d").drawImage(seen, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  };
  try {
    if (!navigator.clipboard) throw new TypeError();
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png() })]);
    emit("copied");
  } catch {
    emit("copy_refused");
  }
}"""


class CopyButton(ui.button):
    """Copies the picture that lies at ``url``, and says whether the browser let it."""

    def __init__(self, url: str = "") -> None:
        super().__init__(say("copy"))
        self.props("flat no-caps").mark("copy")
        self.props["data-url"] = url
        self.on("click", self._tell, js_handler=_COPY)

    def of(self, url: str) -> None:
        """Copy another picture from now on."""
        self.props["data-url"] = url
        self.update()

    def _tell(self, event: GenericEventArguments) -> None:
        copied = event.args == "copied"
        ui.notify(say("copied" if copied else "copy_refused"), type="positive" if copied else "warning")

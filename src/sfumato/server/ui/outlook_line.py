"""The line above the button: what the picture will take in memory and time, before it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import run, ui

from sfumato.errors import SfumatoError
from sfumato.request import Txt2ImgRequest
from sfumato.server.forecast import Forecast, forecast
from sfumato.server.services import Services
from sfumato.server.ui.form import Form
from sfumato.server.ui.units import gigabytes, minutes
from sfumato.server.ui.words import say

#: It is looked again after so many looks (one a second) even if the form is as it was: memory and times change.
AGAIN = 10


class OutlookLine:
    """Follows a form. ``fit`` gets the nearest settings that fit when a person asks for them; ``ask`` gives the request
    that is told of, the form's own if it is left out.
    """

    def __init__(
        self,
        form: Form,
        services: Services,
        fit: Callable[[Mapping[str, Any]], None],
        ask: Callable[[], Txt2ImgRequest] | None = None,
    ) -> None:
        self._form, self._services, self._fit = form, services, fit
        self._ask = form.request if ask is None else ask
        self._seen: object = None
        self._looks, self._nearest = 0, {}
        self._line = ui.label().classes("faint").props('role="status"').mark("outlook")
        self._button = ui.button(on_click=lambda: self._fit(self._nearest)).props("outline dense no-caps").mark("fit")
        self._button.set_visibility(False)
        ui.timer(1, self._look)

    async def _look(self) -> None:
        self._looks += 1
        seen = (self._form.state(), self._looks // AGAIN)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            found = await run.io_bound(forecast, self._services, self._ask(), self._form.model)
        except SfumatoError:  # the button says what is wrong
            found = None
        if not self._line.is_deleted:  # the form may have been built anew meanwhile
            self._show(found)

    def _show(self, found: Forecast | None) -> None:
        self._line.set_visibility(found is not None)
        self._button.set_visibility(found is not None and not found.fits and found.nearest is not None)
        if found is None:
            return
        self._line.classes(add="" if found.fits else "error", remove="error" if found.fits else "faint")
        self._line.set_text(tell(found))
        if found.nearest is not None:
            self._nearest = found.nearest
            width, height, batch = (found.nearest[name] for name in ("width", "height", "batch_size"))
            self._button.set_text(say("fit_settings", width=width, height=height, count=batch))


def tell(found: Forecast) -> str:
    """A forecast in words."""
    memory = say("of_memory", used=gigabytes(found.needed), free=gigabytes(found.free))
    if not found.fits:
        return say("fits_not", memory=memory)
    return memory if found.seconds is None else f"{memory} · {say('takes', time=minutes(found.seconds))}"

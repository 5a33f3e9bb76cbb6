"""The settings of a picture that was made before, for the next one."""

from __future__ import annotations

from nicegui import app, ui

from sfumato.errors import CheckpointError, SfumatoError
from sfumato.gallery import foreign
from sfumato.gallery.foreign import Facts
from sfumato.server.services import Services
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.words import say


def use_settings(facts: Facts, services: Services) -> bool:
    """Fill in the form of the page that creates, for its next visit; says what can't be, and whether anything was."""
    form = CreateForm.of(app.storage.user.get("form"))
    try:
        wanted = foreign.to_request(facts)
    except SfumatoError as error:
        ui.notify(str(error), type="warning")
        return False
    if wanted is None:
        ui.notify(say("no_settings"), type="warning")
        return False
    form.take(wanted)
    try:
        form.model = services.find_model(facts.model) if facts.model else form.model
    except CheckpointError:
        ui.notify(say("model_gone", name=facts.model), type="warning")
    app.storage.user["form"] = form.state()
    return True

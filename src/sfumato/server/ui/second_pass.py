"""The fields of a second pass, which are there when it is on, and those of a variation and of a second model."""

from __future__ import annotations

from nicegui import ui

from sfumato.request import LATENT_UPSCALERS, MAX_SCALE, MAX_SIDE, RESIZERS
from sfumato.sampling.names import SAMPLERS, SCHEDULERS
from sfumato.server.services import Services
from sfumato.server.ui import fields
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.words import say


def second_pass(form: CreateForm, services: Services) -> None:
    """A switch, and below it how the picture is enlarged and drawn on."""
    ui.switch(say("hires")).bind_value(form, "hires").props("dense").mark("hires")
    with ui.element("div").classes("second").bind_visibility_from(form, "hires"):
        upscalers = [*LATENT_UPSCALERS, *RESIZERS, *services.upscalers()]
        if form.hires_upscaler not in upscalers:  # its file is gone, which is said when it is asked for
            upscalers.append(form.hires_upscaler)
        fields.choice(form, "hires_upscaler", {name: name for name in upscalers})
        with ui.element("div").classes("pair"):
            fields.number(form, "hires_scale", 1, MAX_SCALE, step=0.25)
            fields.number(form, "hires_steps", 0, 1000, hint=say("hires_steps_hint"))
            fields.number(form, "hires_width", 8, MAX_SIDE, step=64, hint=say("hires_size_hint"))
            fields.number(form, "hires_height", 8, MAX_SIDE, step=64, hint=say("hires_size_hint"))
        fields.share(form, "hires_strength", say("hires_strength_hint"))
        with ui.element("div").classes("pair"):
            for name, known in (("hires_sampler", SAMPLERS), ("hires_scheduler", SCHEDULERS)):
                fields.choice(form, name, {None: say("as_first"), **{each.label: each.label for each in known}})
            fields.number(form, "hires_cfg_scale", 0, 100, step=0.5, hint=say("as_first"))


def variation(form: CreateForm) -> None:
    """How far the noise goes to that of another seed."""
    folded = ui.expansion(say("variation")).props("dense dense-toggle").classes("w-full folded").mark("variation")
    with folded, ui.element("div").classes("second"):
        fields.number(form, "subseed", 0, 2**53, hint=say("seed_hint"))
        fields.share(form, "subseed_strength", say("subseed_strength_hint"))


def refiner(form: CreateForm, services: Services) -> None:
    """Which model draws the last steps."""
    folded = ui.expansion(say("refining")).props("dense dense-toggle").classes("w-full folded").mark("refining")
    with folded, ui.element("div").classes("second"):
        known = {name: name for name in (*services.models(), form.refiner) if name is not None}
        fields.choice(form, "refiner", {None: say("no_refiner"), **known})
        fields.share(form, "refiner_switch_at", say("refiner_switch_at_hint"))

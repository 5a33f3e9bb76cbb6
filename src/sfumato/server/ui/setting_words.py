"""What each setting is for, in a line; config.yaml has the same keys."""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS: Mapping[str, str] = {
    "model.type": "The model that draws: a name of the Models page, or a path.",
    "model.resolution": "Width and height of pictures in pixels.",
    "model.steps": "Sampling steps. More is slower and, up to a point, finer.",
    "model.sampler": "How steps are taken; none is DPM++ 2M.",
    "model.scheduler": "How noise falls from step to step; none is the sampler's own.",
    "model.cfg_scale": "How closely to follow the prompt; none is what suits the model.",
    "model.clip_skip": "Which of the text encoder's last layers to take; 1 is the last.",
    "model.precision": "autocast, full (float32), half (float16) or bf16.",
    "model.vae": "Another autoencoder than the model's own.",
    "model.text_encoder": "Another text encoder than the model's own; two with a comma between.",
    "model.allow_partial": "Leave out what fits only in part, of LoRAs and checkpoints, with a warning.",
    "output.dir": "The folder for pictures.",
    "output.pattern": "Folder and name of a picture below it.",
    "output.format": "png, jpeg or webp.",
    "output.metadata": "How much pictures tell of the prompt and settings that made them.",
    "jobs.dir": "The queue's folder: its database, checkpoints and what pages keep.",
    "jobs.checkpoint_steps": "After how many steps a running job is stored, to go on after a crash.",
    "jobs.workers": "Worker processes; none is one for each device.",
    "device": "auto, cpu, cuda, mps or xpu.",
    "memory": "auto, max_speed, balanced, low or minimal.",
    "threads": "Processor threads; none is as many as there are cores.",
    "models_dir": "Where your models lie.",
}

"""What clients of AUTOMATIC1111 1.10 send. Unknown fields are ignored there, and so here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from sfumato.request import MAX_SCALE, MAX_SIDE

Words = Annotated[str, Field(max_length=100_000)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Drawing(BaseModel):
    """The fields that txt2img and img2img share, with the web UI's defaults."""

    prompt: Words | None = ""
    negative_prompt: Words | None = ""
    styles: list[str] | None = None
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] | None = -1
    subseed: int | None = -1
    subseed_strength: Number | None = 0
    seed_resize_from_h: int | None = -1
    seed_resize_from_w: int | None = -1
    sampler_name: str | None = None
    sampler_index: str | None = "Euler"
    scheduler: str | None = None
    batch_size: int | None = 1
    n_iter: int | None = 1
    steps: int | None = 50
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = 7.0
    width: Annotated[int, Field(le=MAX_SIDE)] | None = 512
    height: Annotated[int, Field(le=MAX_SIDE)] | None = 512
    restore_faces: bool | None = None
    tiling: bool | None = None
    do_not_save_samples: bool | None = False
    do_not_save_grid: bool | None = False
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    denoising_strength: Number | None = 0.75
    s_min_uncond: Number | None = None
    s_churn: Number | None = None
    s_tmax: Number | None = None
    s_tmin: Number | None = None
    s_noise: Number | None = None
    override_settings: dict[str, Any] | None = None
    override_settings_restore_afterwards: bool | None = True
    refiner_checkpoint: str | None = None
    refiner_switch_at: Number | None = None
    disable_extra_networks: bool | None = False
    script_name: str | None = None
    script_args: list[Any] | None = Field(default_factory=list)
    alwayson_scripts: dict[str, Any] | None = Field(default_factory=dict)
    send_images: bool | None = True
    save_images: bool | None = False
    comments: dict[str, Any] | None = None
    force_task_id: str | None = None
    infotext: str | None = None


class Txt2Img(Drawing):
    """``POST /sdapi/v1/txt2img``."""

    enable_hr: bool | None = False
    firstphase_width: int | None = 0
    firstphase_height: int | None = 0
    hr_scale: Number | None = 2.0
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = 0
    hr_resize_x: int | None = 0
    hr_resize_y: int | None = 0
    hr_checkpoint_name: str | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_prompt: Words | None = ""
    hr_negative_prompt: Words | None = ""


class Img2Img(Drawing):
    """``POST /sdapi/v1/img2img``."""

    init_images: list[str] | None = None
    resize_mode: int | None = 0
    image_cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    mask: str | None = None
    mask_blur: Annotated[int, Field(ge=0, le=512)] | None = None
    mask_blur_x: Annotated[int, Field(ge=0, le=512)] | None = 4
    mask_blur_y: Annotated[int, Field(ge=0, le=512)] | None = 4
    mask_round: bool | None = True
    latent_mask: str | None = None
    inpainting_fill: Annotated[int, Field(ge=0, le=3)] | None = 0
    inpaint_full_res: bool | int | None = True
    inpaint_full_res_padding: Annotated[int, Field(ge=0, le=MAX_SIDE)] | None = 0
    inpainting_mask_invert: bool | int | None = 0
    initial_noise_multiplier: Number | None = None
    include_init_images: bool | None = False


class Extra(BaseModel):
    """What the two upscaling routes share."""

    resize_mode: Annotated[int, Field(ge=0, le=1)] = 0
    show_extras_results: bool | None = True
    gfpgan_visibility: Annotated[float, Field(ge=0, le=1)] = 0
    codeformer_visibility: Annotated[float, Field(ge=0, le=1)] = 0
    codeformer_weight: Annotated[float, Field(ge=0, le=1)] = 0
    upscaling_resize: Annotated[float, Field(gt=0, le=MAX_SCALE)] = 2
    upscaling_resize_w: Annotated[int, Field(ge=1, le=MAX_SIDE)] = 512
    upscaling_resize_h: Annotated[int, Field(ge=1, le=MAX_SIDE)] = 512
    upscaling_crop: bool | None = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: Annotated[float, Field(ge=0, le=1)] = 0
    upscale_first: bool | None = False


class ExtraSingle(Extra):
    """``POST /sdapi/v1/extra-single-image``."""

    image: str = ""


class FileData(BaseModel):
    """One picture of a batch."""

    data: str
    name: str = ""


class ExtraBatch(Extra):
    """``POST /sdapi/v1/extra-batch-images``."""

    imageList: Annotated[list[FileData], Field(max_length=16)]  # noqa: N815  the field's name there


class PngInfo(BaseModel):
    """``POST /sdapi/v1/png-info``."""

    image: str


class Interrogate(BaseModel):
    """``POST /sdapi/v1/interrogate``."""

    image: str = ""
    model: str = "clip"

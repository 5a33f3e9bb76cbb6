"""The commands and their flags. What each does lies in a module of its own, imported when it runs."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from sfumato.cli import flags
from sfumato.cli.train_flags import TrainFlags, as_command


def txt2img(
    prompt: flags.Prompt = None,
    prompts_file: flags.PromptsFile = None,
    negative_prompt: flags.NegativePrompt = None,
    steps: flags.Steps = None,
    width: flags.Width = None,
    height: flags.Height = None,
    resolution: flags.Resolution = None,
    seed: flags.Seed = None,
    sampler: flags.Sampler = None,
    scheduler: flags.Scheduler = None,
    cfg_scale: flags.CfgScale = None,
    batch_size: flags.BatchSize = 1,
    n_iter: flags.NIter = 1,
    model: flags.Model = None,
    ckpt: flags.Ckpt = None,
    clip_skip: flags.ClipSkip = None,
    eta: flags.Eta = None,
    vae: flags.Vae = None,
    text_encoder: flags.TextEncoder = None,
    allow_partial: flags.AllowPartial = False,
    precision: flags.Precision = None,
    device: flags.Device = None,
    memory: flags.Memory = None,
    outdir: flags.Outdir = None,
    format: flags.Format = None,
    grid: flags.Grid = False,
    config: flags.Config = None,
    json: flags.Json = False,
    metadata: flags.Metadata = None,
    no_metadata: flags.NoMetadata = False,
    threads: flags.Threads = None,
    subseed: flags.Subseed = None,
    subseed_strength: flags.SubseedStrength = 0.0,
    seed_resize_from: flags.SeedResizeFrom = None,
    tiling: flags.Tiling = False,
    guidance_rescale: flags.GuidanceRescale = 0.0,
    refiner: flags.Refiner = None,
    refiner_switch_at: flags.RefinerSwitchAt = 0.8,
    hires_scale: flags.HiresScale = None,
    hires_resolution: flags.HiresResolution = None,
    hires_upscaler: flags.HiresUpscaler = "Latent",
    hires_steps: flags.HiresSteps = 0,
    hires_strength: flags.HiresStrength = 0.7,
    hires_sampler: flags.HiresSampler = None,
    hires_scheduler: flags.HiresScheduler = None,
    hires_cfg_scale: flags.HiresCfgScale = None,
    hires_prompt: flags.HiresPrompt = None,
    hires_negative_prompt: flags.HiresNegativePrompt = None,
) -> None:
    """Draw pictures from words. Flags go before environment (SFUMATO_*), config.yaml and defaults."""
    _draw(flags.Txt2ImgFlags(**locals()))


def _draw(given: flags.Txt2ImgFlags) -> None:
    from sfumato.cli.txt2img import run

    run(given)


def _drawing(command: Callable[..., None]) -> Callable[..., None]:
    """The command with all flags of txt2img in the place of its ``**drawing``."""
    own, drawing = signature(command), signature(txt2img)
    hints = {**get_type_hints(txt2img, include_extras=True), **get_type_hints(command, include_extras=True)}
    hints.pop("drawing")
    named = {**dict(list(own.parameters.items())[:-1]), **drawing.parameters}
    keyword = Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=keyword, annotation=hints[name]) for name, one in named.items()]
    setattr(command, "__signature__", Signature(parameters))  # noqa: B010
    command.__annotations__ = hints
    return command


@_drawing
def img2img(
    init: flags.Init,
    strength: flags.Strength = 0.75,
    resize_mode: flags.ResizeMode = "stretch",
    image_cfg_scale: flags.ImageCfgScale = 1.5,
    **drawing: Any,
) -> None:
    """Draw from a picture and words. Takes the flags of txt2img too; the size is the picture's if none is given."""
    given = flags.Txt2ImgFlags(**drawing)
    from sfumato.cli.img2img import run

    run(given, flags.InitFlags(init, strength, resize_mode, image_cfg_scale))


@_drawing
def inpaint(
    init: flags.Init,
    mask: flags.MaskFile = None,
    strength: flags.Strength = 0.75,
    resize_mode: flags.ResizeMode = "stretch",
    mask_blur: flags.MaskBlur = 4.0,
    fill: flags.MaskFill = "original",
    only_masked: flags.OnlyMasked = False,
    padding: flags.Padding = 32,
    invert: flags.Invert = False,
    extend: flags.Extend = None,
    image_cfg_scale: flags.ImageCfgScale = 1.5,
    **drawing: Any,
) -> None:
    """Draw a part of a picture anew. Takes the flags of txt2img too; what the mask leaves out keeps its bytes."""
    part = flags.MaskFlags(
        mask=mask,
        mask_blur=mask_blur,
        fill=fill,
        only_masked=only_masked,
        padding=padding,
        invert=invert,
        extend=extend,
    )
    given = flags.Txt2ImgFlags(**drawing)
    from sfumato.cli.img2img import run

    run(given, flags.InitFlags(init, strength, resize_mode, image_cfg_scale), part=part)


@_drawing
def xyz(
    x: flags.XAxis = None, y: flags.YAxis = None, z: flags.ZAxis = None, matrix: flags.Matrix = False, **drawing: Any
) -> None:
    """Draw a prompt over the values of fields, on a labelled sheet. Takes the flags of txt2img too."""
    given = flags.Txt2ImgFlags(**drawing)
    from sfumato.cli.xyz import run

    run(given, [x, y, z], matrix)


@as_command
def train(given: TrainFlags) -> None:
    """Fine-tune a model on a folder of pictures: LoRA, all weights, or a new word."""
    from sfumato.cli.train import run

    run(given)


def quantize(
    model_path: flags.ModelPath,
    output_path: flags.OutputPath,
    type: flags.QuantType = "q4_0",
    layout: flags.Layout = "portable",
    rules: flags.Rules = None,
    dequantize: flags.Dequantize = False,
    force: flags.Force = False,
    verify: flags.Verify = 0,
    config: flags.Config = None,
    json: flags.Json = False,
) -> None:
    """Write a model in fewer bits, as a GGUF file that other programs read too."""
    given = {**locals(), "rules": rules or []}
    from sfumato.cli.quantize import QuantizeFlags, run

    run(QuantizeFlags(**given))


def queue(
    action: flags.QueueAction,
    jobs: flags.QueueJobs = None,
    prompt: flags.Prompt = None,
    prompts_file: flags.PromptsFile = None,
    negative_prompt: flags.NegativePrompt = None,
    steps: flags.Steps = None,
    resolution: flags.Resolution = None,
    seed: flags.Seed = None,
    sampler: flags.Sampler = None,
    scheduler: flags.Scheduler = None,
    cfg_scale: flags.CfgScale = None,
    batch_size: flags.BatchSize = 1,
    n_iter: flags.NIter = 1,
    model: flags.Model = None,
    ckpt: flags.Ckpt = None,
    key: flags.Key = None,
    ray: flags.Ray = None,
    once: flags.Once = False,
    config: flags.Config = None,
    json: flags.Json = False,
) -> None:
    """Keep pictures to draw in a queue that outlives crashes, and draw them."""
    given = locals()
    own = {name: given.pop(name) for name in ("action", "jobs", "key", "ray", "once")}
    from sfumato.cli.queue import QueueFlags, run

    run(QueueFlags(**{**own, "jobs": jobs or []}, picture=flags.Txt2ImgFlags(**given)))


def webui(
    port: flags.Port = 7860,
    listen: flags.Listen = False,
    api_auth: flags.ApiAuth = None,
    host_name: flags.HostName = None,
    cors_allow_origins: flags.CorsOrigins = None,
    tls_keyfile: flags.TlsKey = None,
    tls_certfile: flags.TlsCertificate = None,
    model: flags.Model = None,
    ckpt: flags.Ckpt = None,
    vae: flags.Vae = None,
    text_encoder: flags.TextEncoder = None,
    allow_partial: flags.AllowPartial = False,
    precision: flags.Precision = None,
    device: flags.Device = None,
    memory: flags.Memory = None,
    outdir: flags.Outdir = None,
    metadata: flags.Metadata = None,
    threads: flags.Threads = None,
    train_dir: flags.TrainDir = None,
    ray: flags.Ray = None,
    config: flags.Config = None,
    api: flags.Api = False,
) -> None:
    """Serve the web studio and the HTTP API on this computer."""
    given = {**locals(), "host_name": host_name or [], "train_dir": train_dir or []}
    del given["api"]
    from sfumato.cli.webui import WebuiFlags, run

    run(WebuiFlags(**given))


def plan(
    resolution: flags.Resolution = None,
    batch_size: flags.BatchSize = 1,
    model: flags.Model = None,
    ckpt: flags.Ckpt = None,
    precision: flags.Precision = None,
    device: flags.Device = None,
    memory: flags.Memory = None,
    config: flags.Config = None,
    json: flags.Json = False,
) -> None:
    """Say how a picture would be drawn and in how much memory, without loading anything."""
    given = flags.Txt2ImgFlags(**locals())
    from sfumato.cli.plan import run

    run(given)


def upscale(
    files: flags.Pictures,
    scale: flags.Scale = 2.0,
    upscaler: flags.Upscaler = "Lanczos",
    outdir: flags.Outdir = None,
    config: flags.Config = None,
    json: flags.Json = False,
) -> None:
    """Make pictures larger, by a filter or by a network of models/upscalers."""
    given = flags.UpscaleFlags(**locals())
    from sfumato.cli.upscale import run

    run(given)


def models(config: flags.Config = None, json: flags.Json = False) -> None:
    """List the models that there are."""
    from sfumato.cli.listing import list_models

    list_models(config, json)


def samplers(json: flags.Json = False) -> None:
    """List samplers and schedules."""
    from sfumato.cli.listing import list_samplers

    list_samplers(json)


def doctor(config: flags.Config = None, json: flags.Json = False) -> None:
    """Check this machine; name the fix of each fault."""
    from sfumato.cli.doctor import run

    run(config, json)


def config(config: flags.Config = None, json: flags.Json = False) -> None:
    """Print every setting and where it came from."""
    from sfumato.cli.show import show_config

    show_config(config, json)


def info(file: flags.File, json: flags.Json = False) -> None:
    """Print how a picture was made."""
    from sfumato.cli.show import show_info

    show_info(file, json)


def inspect(files: flags.Files, hash: flags.Hash = False, model: flags.With = None, json: flags.Json = False) -> None:
    """Say what model files are, from their headers alone."""
    from sfumato.cli.inspect import run

    run(files, hash, json, model)


COMMANDS: dict[str, Callable[..., None]] = {
    "txt2img": txt2img,
    "img2img": img2img,
    "inpaint": inpaint,
    "xyz": xyz,
    "train": train,
    "quantize": quantize,
    "queue": queue,
    "webui": webui,
    "upscale": upscale,
    "plan": plan,
    "models": models,
    "inspect": inspect,
    "samplers": samplers,
    "doctor": doctor,
    "config": config,
    "info": info,
}

"""The flags of all commands, each with its aliases and help. ``-`` and ``_`` are the same in every name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

Prompt = Annotated[
    list[str] | None, Option("--prompt", metavar="TEXT", help="What to draw. Repeat for several prompts.")
]
PromptsFile = Annotated[
    str | None,
    Option(
        "--prompts_file",
        "--from_file",
        metavar="FILE",
        help="A file with a prompt, or flags as --prompt TEXT --steps N, on each line; - is standard input.",
    ),
]
NegativePrompt = Annotated[
    str | None, Option("--negative_prompt", metavar="TEXT", help="What to keep out of the picture.")
]
Steps = Annotated[int | None, Option("--steps", "--ddim_steps", metavar="N", help="Sampling steps.")]
Width = Annotated[int | None, Option("--width", "--W", metavar="N", help="Width in pixels.")]
Height = Annotated[int | None, Option("--height", "--H", metavar="N", help="Height in pixels.")]
Resolution = Annotated[str | None, Option("--resolution", metavar="WxH", help="Width and height, as 512x512.")]
Seed = Annotated[
    int | None,
    Option("--seed", metavar="N", help="Seed of the first picture of each prompt; -1 or none: a new one each time."),
]
Sampler = Annotated[str | None, Option("--sampler", metavar="NAME", help="Sampler; `sfumato samplers` lists them.")]
Scheduler = Annotated[
    str | None, Option("--scheduler", metavar="NAME", help="Noise schedule; `sfumato samplers` lists them.")
]
CfgScale = Annotated[
    float | None, Option("--cfg_scale", "--scale", metavar="N", help="Guidance by the prompt; 1 is none.")
]
BatchSize = Annotated[
    int, Option("--batch_size", "--n_samples", metavar="N", help="Pictures made at once, with seeds that count up.")
]
NIter = Annotated[int, Option("--n_iter", metavar="N", help="Batches for each prompt.")]
Model = Annotated[str | None, Option("--model", metavar="NAME", help="Name of a model; `sfumato models` lists them.")]
Ckpt = Annotated[Path | None, Option("--ckpt", metavar="PATH", help="A model file or diffusers folder instead.")]
ClipSkip = Annotated[
    int | None, Option("--clip_skip", metavar="N", help="Use the text encoder's layer that many from the last.")
]
Eta = Annotated[float | None, Option("--eta", metavar="N", help="Share of fresh noise in samplers that take it.")]
Vae = Annotated[str | None, Option("--vae", metavar="NAME", help="Another autoencoder, large or tiny: name or path.")]
TextEncoder = Annotated[
    str | None, Option("--text_encoder", metavar="NAME", help="Other CLIP text encoders; two with a comma between.")
]
AllowPartial = Annotated[
    bool,
    Option("--allow_partial", help="Leave out what fits only in part, with a warning, where it would be an error."),
]
Precision = Annotated[str | None, Option("--precision", metavar="NAME", help="autocast, full, half, bf16 or int8.")]
Device = Annotated[str | None, Option("--device", metavar="NAME", help="auto, cpu, cuda, mps or xpu.")]
Memory = Annotated[str | None, Option("--memory", metavar="NAME", help="auto, max_speed, balanced, low or minimal.")]
Outdir = Annotated[Path | None, Option("--outdir", metavar="FOLDER", help="Where pictures go.")]
Format = Annotated[str | None, Option("--format", metavar="NAME", help="png, jpeg or webp.")]
Grid = Annotated[bool, Option("--grid", help="Also save one sheet with all pictures.")]
Config = Annotated[Path | None, Option("--config", metavar="FILE", help="Settings file instead of config.yaml.")]
Json = Annotated[bool, Option("--json", help="Print JSON: one object a line.")]
Metadata = Annotated[
    str | None, Option("--metadata", metavar="NAME", help="What pictures say of themselves: full, ai-flag or none.")
]
NoMetadata = Annotated[bool, Option("--no_metadata", help="The same as --metadata none.")]
Threads = Annotated[int | None, Option("--threads", metavar="N", help="CPU threads; by default one for each core.")]
Subseed = Annotated[
    int | None, Option("--subseed", "--variation_seed", metavar="N", help="Seed of the noise that a picture varies to.")
]
SubseedStrength = Annotated[
    float, Option("--subseed_strength", "--variation_strength", metavar="N", help="How far: 0 is none, 1 all the way.")
]
SeedResizeFrom = Annotated[
    str | None, Option("--seed_resize_from", metavar="WxH", help="Keep the middle of the seed's picture of this size.")
]
Tiling = Annotated[bool, Option("--tiling", help="A picture whose edges fit each other.")]
GuidanceRescale = Annotated[
    float,
    Option("--guidance_rescale", metavar="N", help="Less over-exposure at high guidance: 0 is none, 0.7 is usual."),
]
Refiner = Annotated[
    str | None, Option("--refiner", metavar="NAME", help="A second model for the last steps: its name, or a path.")
]
RefinerSwitchAt = Annotated[
    float, Option("--refiner_switch_at", metavar="N", help="After which share of the way it draws.")
]
Version = Annotated[bool, Option("--version", help="Print the version.")]
Port = Annotated[int, Option("--port", metavar="N", help="Where the page is: http://localhost:N. 0 takes a free one.")]
Listen = Annotated[bool, Option("--listen", help="Let other computers in; needs --api_auth.")]
ApiAuth = Annotated[
    str | None,
    Option("--api_auth", "--gradio_auth", metavar="NAME:PASSWORD", help="Ask for these, or for a token; with commas."),
]
HostName = Annotated[
    list[str] | None, Option("--host_name", metavar="NAME", help="A name of this computer that pages may be asked by.")
]
CorsOrigins = Annotated[
    str | None, Option("--cors_allow_origins", metavar="URL,URL", help="Pages elsewhere that may call the server.")
]
TlsKey = Annotated[Path | None, Option("--tls_keyfile", metavar="FILE", help="The key for https.")]
TlsCertificate = Annotated[Path | None, Option("--tls_certfile", metavar="FILE", help="The certificate for https.")]
TrainDir = Annotated[
    list[Path] | None, Option("--train_dir", metavar="FOLDER", help="A folder whose pictures the Train page may read.")
]
Api = Annotated[bool, Option("--api", help="The API is always on; taken for the sake of old scripts.")]
Verify = Annotated[
    int, Option("--verify", metavar="N", help="Draw N pictures with both models and say how far they are apart.")
]
ModelPath = Annotated[
    Path, Option("--model_path", metavar="PATH", help="The model: its name, a file of any kind, or a folder.")
]
OutputPath = Annotated[Path, Option("--output_path", metavar="FILE", help="Where the new file goes.")]
QuantType = Annotated[
    str, Option("--type", metavar="NAME", help="q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0, f16 or bf16.")
]
Layout = Annotated[
    str, Option("--layout", metavar="NAME", help="portable for stable-diffusion.cpp too, or compact: smaller.")
]
Rules = Annotated[
    list[str] | None, Option("--rules", metavar="PATTERN=TYPE", help="Another type for names that fit. Repeatable.")
]
Dequantize = Annotated[bool, Option("--dequantize", help="The other way: write a plain .safetensors file.")]
Force = Annotated[bool, Option("--force", help="Write over a file that is there.")]
Files = Annotated[list[Path], Argument(metavar="FILE...", help="Model files, or folders of them.")]
Pictures = Annotated[list[Path], Argument(metavar="FILE...", help="PNG, JPEG or WebP files.")]
Scale = Annotated[float, Option("--scale", metavar="S", help="How many times as wide and high.")]
Upscaler = Annotated[
    str, Option("--upscaler", metavar="NAME", help="Lanczos, Bicubic, Nearest, or a file in models/upscalers.")
]
With = Annotated[
    str | None, Option("--with", metavar="MODEL", help="Say how LoRAs and embeddings fit this model: a name or path.")
]
Hash = Annotated[bool, Option("--hash", help="Also the hash of files whose hash is not known: reads all of them.")]
QueueAction = Annotated[str, Argument(help="list, add, run, cancel, pause, resume, retry or forget.")]
QueueJobs = Annotated[list[str] | None, Argument(metavar="JOB", help="A job's id, or its first eight letters.")]
Key = Annotated[str | None, Option("--key", metavar="TEXT", help="add: the same key again adds nothing.")]
Ray = Annotated[str | None, Option("--ray", metavar="ADDRESS", help="run: on a Ray cluster; auto finds this one's.")]
Once = Annotated[bool, Option("--once", help="run: end when nothing waits any more.")]
File = Annotated[Path, Argument(metavar="FILE", help="A picture that this or another program made.")]


Init = Annotated[Path, Option("--init", "--init_img", metavar="FILE", help="The picture to start from.")]
Strength = Annotated[
    float, Option("--strength", "--denoising_strength", metavar="N", help="0 hardly changes it, 1 keeps nothing of it.")
]
ResizeMode = Annotated[
    str, Option("--resize_mode", metavar="NAME", help="To another size: stretch, crop, fill or latent.")
]
ImageCfgScale = Annotated[
    float, Option("--image_cfg_scale", metavar="N", help="How near a model that changes pictures by words stays to it.")
]
MaskFile = Annotated[
    Path | None, Option("--mask", metavar="FILE", help="White where to draw, black what stays; grey is in between.")
]
MaskBlur = Annotated[float, Option("--mask_blur", metavar="N", help="How soft the mask's edge becomes, in pixels.")]
MaskFill = Annotated[
    str, Option("--fill", metavar="NAME", help="Under the mask at first: original, fill, latent noise, latent nothing.")
]
OnlyMasked = Annotated[bool, Option("--only_masked", help="Draw the mask's part alone, as large as the whole.")]
Padding = Annotated[int, Option("--padding", metavar="N", help="What --only_masked sees around it, in pixels.")]
Extend = Annotated[
    str | None,
    Option("--extend", metavar="L,T,R,B", help="Instead: so many pixels more at left, top, right and bottom."),
]
Invert = Annotated[bool, Option("--invert", help="Draw where the mask is black.")]


@dataclass(frozen=True)
class InitFlags:
    """What was typed of the picture to start from."""

    path: Path
    strength: float = 0.75
    resize_mode: str = "stretch"
    image_cfg_scale: float = 1.5


@dataclass(frozen=True, kw_only=True)
class MaskFlags:
    """What was typed of the part to draw."""

    mask: Path | None = None
    mask_blur: float = 4.0
    fill: str = "original"
    only_masked: bool = False
    padding: int = 32
    invert: bool = False
    extend: str | None = None


HiresScale = Annotated[
    float | None, Option("--hires_scale", "--hr_scale", metavar="N", help="A second pass, so many times as large.")
]
HiresResolution = Annotated[
    str | None, Option("--hires_resolution", metavar="WxH", help="A second pass, of this size in pixels.")
]
HiresUpscaler = Annotated[
    str, Option("--hires_upscaler", "--hr_upscaler", metavar="NAME", help="How the first pass is enlarged.")
]
HiresSteps = Annotated[int, Option("--hires_steps", metavar="N", help="Steps of it; 0 is as many as --steps.")]
HiresStrength = Annotated[
    float, Option("--hires_strength", metavar="N", help="0.3 hardly changes the first pass, 1 keeps nothing of it.")
]
HiresSampler = Annotated[str | None, Option("--hires_sampler", metavar="NAME", help="Another sampler for it.")]
HiresScheduler = Annotated[str | None, Option("--hires_scheduler", metavar="NAME", help="Another schedule for it.")]
HiresCfgScale = Annotated[float | None, Option("--hires_cfg_scale", metavar="N", help="Another guidance for it.")]
HiresPrompt = Annotated[str | None, Option("--hires_prompt", metavar="TEXT", help="Another prompt for it.")]
HiresNegativePrompt = Annotated[
    str | None, Option("--hires_negative_prompt", metavar="TEXT", help="Another negative prompt for it.")
]
XAxis = Annotated[str | None, Option("--x", metavar="FIELD=VALUES", help="What changes across: steps=10,20,30.")]
YAxis = Annotated[str | None, Option("--y", metavar="FIELD=VALUES", help="What changes down: cfg_scale=3-9 (+2).")]
ZAxis = Annotated[str | None, Option("--z", metavar="FIELD=VALUES", help="What changes from level to level.")]
Matrix = Annotated[
    bool, Option("--matrix", help="Every choice of the prompt's parts instead: a city|painted|at night.")
]


@dataclass(frozen=True, kw_only=True)
class Txt2ImgFlags:
    """What was typed. ``None`` means "not given": settings or model decide."""

    prompt: list[str] | None = None
    prompts_file: str | None = None
    negative_prompt: str | None = None
    steps: int | None = None
    width: int | None = None
    height: int | None = None
    resolution: str | None = None
    seed: int | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: float | None = None
    batch_size: int = 1
    n_iter: int = 1
    model: str | None = None
    ckpt: Path | None = None
    clip_skip: int | None = None
    eta: float | None = None
    vae: str | None = None
    text_encoder: str | None = None
    allow_partial: bool = False
    precision: str | None = None
    device: str | None = None
    memory: str | None = None
    outdir: Path | None = None
    format: str | None = None
    grid: bool = False
    config: Path | None = None
    json: bool = False
    metadata: str | None = None
    no_metadata: bool = False
    threads: int | None = None
    subseed: int | None = None
    subseed_strength: float = 0.0
    seed_resize_from: str | None = None
    tiling: bool = False
    guidance_rescale: float = 0.0
    refiner: str | None = None
    refiner_switch_at: float = 0.8
    hires_scale: float | None = None
    hires_resolution: str | None = None
    hires_upscaler: str = "Latent"
    hires_steps: int = 0
    hires_strength: float = 0.7
    hires_sampler: str | None = None
    hires_scheduler: str | None = None
    hires_cfg_scale: float | None = None
    hires_prompt: str | None = None
    hires_negative_prompt: str | None = None


@dataclass(frozen=True, kw_only=True)
class UpscaleFlags:
    """Flags of ``upscale``."""

    files: list[Path]
    scale: float
    upscaler: str
    outdir: Path | None
    config: Path | None
    json: bool

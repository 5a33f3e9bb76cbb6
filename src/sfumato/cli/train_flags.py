"""The flags of ``train``, with the aliases that other trainers' users know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import Option

from sfumato.cli import flags


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """What was typed; each field is a flag."""

    data_dir: Annotated[
        Path,
        Option("--data_dir", "--train_data_dir", metavar="FOLDER", help="The pictures to learn from."),
    ]
    reg_dir: Annotated[
        Path | None,
        Option("--reg_dir", "--reg_data_dir", metavar="FOLDER", help="Pictures of the class in general, to keep it."),
    ] = None
    caption: Annotated[
        str | None,
        Option("--caption", metavar="TEXT", help="Words for pictures that have none of their own."),
    ] = None
    instance_prompt: Annotated[
        str | None,
        Option("--instance_prompt", metavar="TEXT", help="DreamBooth: words for your pictures."),
    ] = None
    class_prompt: Annotated[
        str | None,
        Option("--class_prompt", metavar="TEXT", help="DreamBooth: words for the class."),
    ] = None
    class_pictures: Annotated[
        int | None,
        Option(
            "--class_pictures",
            "--num_class_images",
            metavar="N",
            help="Pictures that the base draws first and learns along, so as not to forget; 0 for none.",
        ),
    ] = None
    prior_weight: Annotated[
        float,
        Option("--prior_weight", "--prior_loss_weight", metavar="N", help="What class pictures count."),
    ] = 1.0
    resolution: Annotated[
        int | None,
        Option("--resolution", metavar="N", help="Pixels of a square's side; other shapes have the same area."),
    ] = None
    caption_dropout: Annotated[
        float,
        Option("--caption_dropout", metavar="N", help="Share of pictures shown without words."),
    ] = 0.0
    shuffle_caption: Annotated[
        bool,
        Option("--shuffle_caption", help="Put a caption's comma-separated parts in random order."),
    ] = False
    keep_tokens: Annotated[
        int,
        Option("--keep_tokens", metavar="N", help="Parts at the beginning that keep their place."),
    ] = 0
    flip: Annotated[bool, Option("--flip", "--flip_aug", "--random_flip", help="Mirror half of the pictures.")] = False
    random_crop: Annotated[
        bool,
        Option("--random_crop", help="Cut pictures at random places; latents are not kept then."),
    ] = False
    masked_loss: Annotated[
        bool,
        Option("--masked_loss", "--alpha_mask", help="Learn only what is not transparent."),
    ] = False
    method: Annotated[str, Option("--method", metavar="NAME", help="lora, full or textual_inversion.")] = "lora"
    rank: Annotated[int, Option("--rank", "--network_dim", metavar="N", help="LoRA: how wide its branches are.")] = 16
    alpha: Annotated[
        float | None,
        Option("--alpha", "--network_alpha", metavar="N", help="LoRA: branches count alpha/rank; the rank."),
    ] = None
    targets: Annotated[
        str | None,
        Option("--targets", metavar="NAME", help="LoRA: attention, transformer, or all with convolutions."),
    ] = None
    train_text_encoder: Annotated[
        bool | None,
        Option("--train_text_encoder/--network_train_unet_only", help="Train the text encoder too, or not."),
    ] = None
    token: Annotated[
        str | None,
        Option("--token", "--placeholder_token", metavar="WORD", help="Textual inversion: the new word."),
    ] = None
    init_word: Annotated[
        str | None,
        Option(
            "--init_word",
            "--initializer_token",
            metavar="WORD",
            help="Textual inversion: the word to start from.",
        ),
    ] = None
    vectors: Annotated[
        int,
        Option("--vectors", "--num_vectors", metavar="N", help="Textual inversion: how many vectors the word has."),
    ] = 4
    epochs: Annotated[
        int,
        Option(
            "--epochs",
            "--num_train_epochs",
            "--max_train_epochs",
            metavar="N",
            help="Times that each picture is seen.",
        ),
    ] = 100
    max_steps: Annotated[
        int | None,
        Option("--max_steps", "--max_train_steps", metavar="N", help="Optimizer steps, instead of epochs."),
    ] = None
    learning_rate: Annotated[
        float,
        Option("--learning_rate", "--lr", metavar="N", help="Size of the optimizer's steps."),
    ] = 1e-4
    batch_size: Annotated[int, Option("--batch_size", "--train_batch_size", metavar="N", help="Pictures at once.")] = 1
    gradient_accumulation: Annotated[
        int,
        Option(
            "--gradient_accumulation",
            "--gradient_accumulation_steps",
            metavar="N",
            help="Batches to one optimizer step.",
        ),
    ] = 1
    gradient_checkpointing: Annotated[bool, Option("--gradient_checkpointing", help="Less memory, more time.")] = False
    mixed_precision: Annotated[
        str,
        Option("--mixed_precision", metavar="NAME", help="auto, no, bf16 or fp16."),
    ] = "auto"
    optimizer: Annotated[str, Option("--optimizer", metavar="NAME", help="adamw, adamw8bit or prodigy.")] = "adamw"
    lr_schedule: Annotated[
        str | None,
        Option("--lr_scheduler", metavar="NAME", help="constant, cosine or linear."),
    ] = None
    warmup_steps: Annotated[
        int,
        Option("--warmup_steps", "--lr_warmup_steps", metavar="N", help="Steps in which the rate rises from 0."),
    ] = 0
    weight_decay: Annotated[float, Option("--weight_decay", metavar="N", help="How much weights shrink.")] = 0.01
    max_grad_norm: Annotated[float, Option("--max_grad_norm", metavar="N", help="Longest gradient; 0 for any.")] = 1.0
    snr_gamma: Annotated[
        float | None,
        Option("--snr_gamma", "--min_snr_gamma", metavar="N", help="Min-SNR weighting; 5 is usual."),
    ] = None
    noise_offset: Annotated[
        float,
        Option("--noise_offset", metavar="N", help="Noise of whole channels; for darker and lighter pictures."),
    ] = 0.0
    ema: Annotated[
        float | None,
        Option("--ema", "--ema_decay", metavar="N", help="Keep an average of the weights, as 0.999."),
    ] = None
    seed: Annotated[int, Option("--seed", metavar="N", help="Of order, noise and first weights.")] = 0
    name: Annotated[
        str | None,
        Option("--name", "--output_name", metavar="NAME", help="Of the result; by default the data folder's."),
    ] = None
    output_dir: Annotated[
        Path | None,
        Option("--output_dir", metavar="FOLDER", help="Where the result goes; by default among the models."),
    ] = None
    run_dir: Annotated[
        Path | None,
        Option("--run_dir", metavar="FOLDER", help="States, numbers and samples; by default outputs/training/NAME."),
    ] = None
    save_as: Annotated[
        str | None,
        Option("--save_as", metavar="NAME", help="LoRA: kohya or diffusers. Whole models: as their base."),
    ] = None
    save_every: Annotated[
        int,
        Option("--save_every", "--checkpointing_steps", metavar="N", help="Steps between saved states."),
    ] = 250
    sample_every: Annotated[
        int,
        Option("--sample_every", metavar="N", help="Steps between sample sheets; 0 for none."),
    ] = 250
    sample_prompt: Annotated[
        list[str] | None,
        Option("--sample_prompt", metavar="TEXT", help="What to draw as a sample. Repeat for several."),
    ] = None
    tensorboard: Annotated[bool, Option("--tensorboard", help="Also write for TensorBoard.")] = False
    resume: Annotated[
        str | None,
        Option("--resume", "--resume_from_checkpoint", metavar="WHERE", help="latest, or a state file."),
    ] = None
    plan: Annotated[bool, Option("--plan", help="Say what was found and what it will take, and stop.")] = False
    json: flags.Json = False
    model: flags.Model = None
    ckpt: flags.Ckpt = None
    config: flags.Config = None
    device: flags.Device = None
    threads: flags.Threads = None


def as_command(command: Callable[[TrainFlags], None]) -> Callable[..., None]:
    """A function with a parameter for each flag, as typer reads them, that calls ``command`` with all of them."""

    def wrapped(**given: Any) -> None:
        command(TrainFlags(**given))

    hints = get_type_hints(TrainFlags, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            f.name,
            keyword,
            default=inspect.Parameter.empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(TrainFlags)
    ]
    setattr(wrapped, "__signature__", inspect.Signature(parameters))  # noqa: B010
    wrapped.__annotations__, wrapped.__doc__ = hints, command.__doc__
    return wrapped

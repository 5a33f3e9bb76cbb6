"""From ComfyUI's graph of nodes to a request of ours: walked from what it saves back to the sampler and its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sfumato.errors import CheckpointError, RequestError, SfumatoError, nearest
from sfumato.request import InitImage, Txt2ImgRequest, expected_size
from sfumato.sampling import names
from sfumato.server.api.comfy_inputs import Inputs
from sfumato.server.api.comfy_nodes import MAX_SEED, NODES
from sfumato.server.checks import check_request
from sfumato.server.services import Services

#: Nodes of a graph, and letters of a node's name.
MAX_NODES, MAX_NAME = 200, 100
_SAMPLERS = ("KSampler", "KSamplerAdvanced")
#: What follows a file's name in ComfyUI's lists, and not in ours.
_ENDINGS = (".safetensors", ".ckpt", ".pt", ".gguf")


class GraphError(SfumatoError):
    """A graph that can't be drawn by; ``node`` is the one that is to blame, None for the graph as a whole."""

    def __init__(self, kind: str, message: str, node: str | None = None, name: str = "") -> None:
        super().__init__(message)
        self.kind, self.node, self.name = kind, node, name


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a graph asks for. ``order`` are its nodes in the order of their work; ``save`` whether it ends in a file."""

    request: Txt2ImgRequest
    model: str
    save: bool
    sampler: str
    outputs: tuple[str, ...]
    order: tuple[str, ...]


class Graph:
    """Nodes by their names. Every reader raises GraphError for what is not as the node's class says."""

    def __init__(self, nodes: object) -> None:
        if not isinstance(nodes, dict) or not nodes:
            raise GraphError("no_prompt", "No prompt provided: it is an object of nodes.")
        if len(nodes) > MAX_NODES:
            raise GraphError("invalid_prompt", f"The graph has {len(nodes)} nodes; at most {MAX_NODES} are taken.")
        self._nodes: Mapping[str, Any] = nodes
        self.order: list[str] = []
        for name, node in nodes.items():
            self._check(name, node)

    def _check(self, name: str, node: object) -> None:
        if len(name) > MAX_NAME:
            raise GraphError("invalid_prompt", f"A node's name has at most {MAX_NAME} letters.")
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise GraphError("invalid_prompt", f"Node {name!r} has no class_type.", name)
        if (kind := node["class_type"]) not in NODES:
            close = nearest(kind, NODES) or "known: " + ", ".join(NODES)
            raise GraphError("invalid_prompt", f"Node {name!r}: there is no {kind[:80]!r} here; {close}.", name)
        if not isinstance(node.get("inputs"), dict):
            raise GraphError("invalid_prompt", f"Node {name!r} has no inputs.", name)

    def kind(self, node: str) -> str:
        """A node's class."""
        return self._nodes[node]["class_type"]

    def ends(self) -> list[str]:
        """The nodes that the graph is for."""
        return [name for name in self._nodes if NODES[self.kind(name)].ends]

    def visit(self, node: str) -> None:
        """Note that a node works after all that were noted before."""
        if node not in self.order:
            self.order.append(node)

    def source(self, node: str, name: str) -> str:
        """The node that an input is linked to; its output is of the input's type."""
        link, wished = self._given(node, name), NODES[self.kind(node)].inputs[name].kind
        if not isinstance(link, list) or len(link) != 2 or isinstance(link[1], bool) or not isinstance(link[1], int):
            raise GraphError("bad_linked_input", f"{name} must be a link, as [node, 0].", node, name)
        if (origin := str(link[0])) not in self._nodes:
            raise GraphError("bad_linked_input", f"{name} is linked to {origin[:80]!r}, and there is none.", node, name)
        outputs = NODES[self.kind(origin)].outputs
        if not 0 <= link[1] < len(outputs) or outputs[link[1]] != wished:
            message = f"{name} takes {wished}, and {self.kind(origin)} has none at {link[1]}."
            raise GraphError("return_type_mismatch", message, node, name)
        return origin

    def number(self, node: str, name: str) -> Any:
        """A number, within its limits."""
        given, spec = self._given(node, name), NODES[self.kind(node)].inputs[name]
        try:
            value = int(given) if spec.kind == "INT" else float(given)
        except (TypeError, ValueError, OverflowError):
            message = f"{name} is {str(given)[:40]!r}; give a number, not a link."
            raise GraphError("invalid_input_type", message, node, name) from None
        if not (spec.least is None or spec.most is None) and not spec.least <= value <= spec.most:
            message = f"{name} is {value}; give {spec.least:g} to {spec.most:g}."
            kind = "value_smaller_than_min" if value < spec.least else "value_bigger_than_max"
            raise GraphError(kind, message, node, name)
        return value

    def text(self, node: str, name: str) -> str:
        """Words, or a name of a list."""
        given = self._given(node, name)
        if not isinstance(given, str):
            raise GraphError("invalid_input_type", f"{name} is not a text.", node, name)
        return given

    def _given(self, node: str, name: str) -> Any:
        try:
            return self._nodes[node]["inputs"][name]
        except KeyError:
            raise GraphError("required_input_missing", f"{name} is missing.", node, name) from None


def translate(nodes: object, services: Services, inputs: Inputs) -> Wanted:
    """What a graph asks for, checked.

    Raises:
        GraphError: it can't be drawn by; a node is named where one is to blame.
    """
    graph = Graph(nodes)
    outputs = graph.ends()
    if not outputs:
        raise GraphError("prompt_no_outputs", "Prompt has no outputs: it needs a SaveImage or PreviewImage.")
    decoders = {_of(graph, each, "images", "VAEDecode") for each in outputs}
    samplers = {_of(graph, each, "samples", *_SAMPLERS) for each in decoders}
    if len(decoders) > 1 or len(samplers) > 1:
        raise GraphError("invalid_prompt", "The graph has several samplers or decoders; send a prompt for each.")
    (decoder,), (sampler,) = decoders, samplers
    reader = _Reader(graph, services, inputs)
    try:
        model, request = reader.read(sampler, decoder)
        request = reader.check(request)
    except (RequestError, CheckpointError) as error:
        raise GraphError("value_not_valid", str(error), reader.at or sampler) from error
    for node in (sampler, decoder, *outputs):
        graph.visit(node)
    save = any(graph.kind(each) == "SaveImage" for each in outputs)
    return Wanted(
        request=request,
        model=model,
        save=save,
        sampler=sampler,
        outputs=tuple(outputs),
        order=tuple(graph.order),
    )


def _of(graph: Graph, node: str, name: str, *kinds: str) -> str:
    """The source of an input, which has to be of one of some classes."""
    origin = graph.source(node, name)
    if graph.kind(origin) not in kinds:
        message = f"{name} comes from {graph.kind(origin)}; this server takes it from {' or '.join(kinds)} alone."
        raise GraphError("bad_linked_input", message, node, name)
    return origin


@dataclass
class _Reader:
    """Reads the nodes before a sampler; ``at`` is the one that is being read."""

    graph: Graph
    services: Services
    inputs: Inputs
    at: str | None = None

    def read(self, sampler: str, decoder: str) -> tuple[str, Txt2ImgRequest]:
        graph, defaults = self.graph, self.services.defaults
        checkpoint, loras = self._chain(sampler, "model", "CheckpointLoaderSimple")
        model = self._name(checkpoint, "ckpt_name")
        found = [self._words(sampler, side, checkpoint) for side in ("positive", "negative")]
        if found[0][1:] != found[1][1:]:
            raise GraphError("invalid_prompt", "Both prompts must come through the same CLIP nodes.", sampler)
        (positive, clip_loras, skip), (negative, _, _) = found
        vae, seed = self._vae(decoder, checkpoint), "seed" if graph.kind(sampler) == "KSampler" else "noise_seed"
        strength, steps = self._strength(sampler), graph.number(sampler, "steps")
        request = Txt2ImgRequest(
            prompt=positive + self._tags(loras, clip_loras),
            negative_prompt=negative,
            seed=graph.number(sampler, seed),
            steps=steps,
            sampler=self._listed(sampler, "sampler_name"),
            scheduler=self._listed(sampler, "scheduler"),
            cfg_scale=graph.number(sampler, "cfg"),
            clip_skip=skip or self.services.choice.now.clip_skip or defaults.clip_skip,
            vae=self.services.choice.now.vae if vae is None else vae,
        )
        return model, self._start(request, sampler, strength, checkpoint, vae)

    def check(self, request: Txt2ImgRequest) -> Txt2ImgRequest:
        """The request within this server's limits."""
        width, height = expected_size(request)
        self.services.limits.check(steps=request.steps, width=width, height=height, batch=request.batch_size)
        names.resolve(request.sampler, request.scheduler)
        return check_request(request, self.services)

    def _start(
        self, request: Txt2ImgRequest, sampler: str, strength: float, checkpoint: str, vae: str | None
    ) -> Txt2ImgRequest:
        """With what is drawn from: an empty latent, or a picture, which the ``vae`` that decodes encodes too."""
        graph, latent = self.graph, _of(self.graph, sampler, "latent_image", "EmptyLatentImage", "VAEEncode")
        if graph.kind(latent) == "EmptyLatentImage":
            if strength < 1:
                raise GraphError("invalid_prompt", "denoise below 1 needs a picture, by VAEEncode.", sampler, "denoise")
            graph.visit(latent)
            sides = {name: graph.number(latent, name) for name in ("width", "height", "batch_size")}
            if request.seed is not None and request.seed > MAX_SEED - sides["batch_size"]:
                raise GraphError("value_bigger_than_max", f"seed is {request.seed}; it is too large.", sampler, "seed")
            return replace(request, **sides)
        loader = _of(graph, latent, "pixels", "LoadImage")
        if self._vae(latent, checkpoint) != vae:
            raise GraphError("invalid_prompt", "VAEEncode and VAEDecode must have the same autoencoder.", latent, "vae")
        self.at = loader
        picture = self.inputs.get(graph.text(loader, "image")).convert("RGB")  # its transparency is the node's mask
        self.at = None
        graph.visit(loader)
        graph.visit(latent)
        init = InitImage(picture=picture, denoising_strength=strength)
        return replace(request, steps=planned_steps(request.steps, strength), init=init)

    def _strength(self, sampler: str) -> float:
        """How much of the way is drawn; the advanced sampler has to draw all of it."""
        graph = self.graph
        if graph.kind(sampler) == "KSampler":
            return graph.number(sampler, "denoise")
        whole = graph.number(sampler, "start_at_step") == 0
        whole &= graph.number(sampler, "end_at_step") >= graph.number(sampler, "steps")
        for name, value in (("add_noise", "enable"), ("return_with_leftover_noise", "disable")):
            whole &= graph.text(sampler, name) == value
        if not whole:
            message = "KSamplerAdvanced is drawn from the first step to the last, with noise and without any left."
            raise GraphError("invalid_prompt", message, sampler)
        return 1.0

    def _chain(self, node: str, name: str, *ends: str) -> tuple[str, list[str]]:
        """The node that a chain of LoRAs, or of CLIP nodes, begins at, and the nodes between."""
        between: list[str] = []
        kinds = ("LoraLoader", *(("CLIPSetLastLayer",) if name == "clip" else ()), *ends)
        origin = _of(self.graph, node, name, *kinds)
        while self.graph.kind(origin) not in ends:
            if origin in between:
                raise GraphError("invalid_prompt", "The nodes are linked in a ring.", origin)
            between.append(origin)
            origin = _of(self.graph, origin, name, *kinds)
        for each in (origin, *reversed(between)):
            self.graph.visit(each)
        return origin, between[::-1]

    def _words(self, sampler: str, side: str, checkpoint: str) -> tuple[str, list[str], int | None]:
        """A prompt, the LoRAs on its text encoder, and which of CLIP's last layers is read."""
        encoder = _of(self.graph, sampler, side, "CLIPTextEncode")
        origin, nodes = self._chain(encoder, "clip", "CheckpointLoaderSimple")
        self._same(origin, checkpoint, encoder)
        loras = [each for each in nodes if self.graph.kind(each) == "LoraLoader"]
        skips = [each for each in nodes if each not in loras]
        skip = -self.graph.number(skips[-1], "stop_at_clip_layer") if skips else None
        self.graph.visit(encoder)
        text = self.graph.text(encoder, "text").replace("embedding:", "")
        if len(text) > self.services.limits.prompt:
            raise GraphError("invalid_prompt", f"The prompt is longer than {self.services.limits.prompt}.", encoder)
        return text, loras, skip

    def _vae(self, node: str, checkpoint: str) -> str | None:
        """The name of the autoencoder that is not the checkpoint's own, or None."""
        origin = _of(self.graph, node, "vae", "CheckpointLoaderSimple", "VAELoader")
        self.graph.visit(origin)
        if self.graph.kind(origin) == "VAELoader":
            return self._name(origin, "vae_name")
        self._same(origin, checkpoint, node)
        return None

    def _same(self, origin: str, checkpoint: str, node: str) -> None:
        if origin != checkpoint:
            raise GraphError("invalid_prompt", "All parts of a model must come from the same checkpoint node.", node)

    def _name(self, node: str, name: str) -> str:
        """A known file's name; never a path."""
        find = {"ckpt_name": self.services.find_model, "vae_name": self.services.find_vae}.get(name, self._lora)
        self.at = node
        found = find(self.graph.text(node, name))
        self.at = None
        return found

    def _lora(self, name: str) -> str:
        known = self.services.loras()
        for given in (name, *(name.removesuffix(ending) for ending in _ENDINGS)):
            if given in known and not set(given) & set("<>:"):
                return given
        raise CheckpointError(f"There is no LoRA {name[:80]!r}; {nearest(name, known) or 'they lie in models/loras'}.")

    def _listed(self, node: str, name: str) -> str:
        """A sampler's or schedule's name, in any spelling."""
        given = self.graph.text(node, name)
        self.at = node
        if name == "sampler_name":
            names.resolve(given)
        else:
            names.resolve(None, given)
        self.at = None
        return given

    def _tags(self, on_model: list[str], on_clip: list[str]) -> str:
        """LoRAs as a prompt has them; one may be on one of the networks alone."""
        tags = ""
        for node in dict.fromkeys((*on_model, *on_clip)):
            texts = self.graph.number(node, "strength_clip") if node in on_clip else 0.0
            unet = self.graph.number(node, "strength_model") if node in on_model else 0.0
            tags += f"<lora:{self._name(node, 'lora_name')}:{texts:g}:{unet:g}>"
        return tags


def planned_steps(steps: int, strength: float) -> int:
    """How many steps to plan so that ``steps`` are taken: ComfyUI counts those that are, and the web UI all.

    >>> [planned_steps(20, strength) for strength in (1.0, 0.5, 0.75)]
    [20, 38, 26]
    """
    return steps if strength >= 1 or strength <= 0 else max(1, math.ceil((steps - 1) / strength - 1e-9))

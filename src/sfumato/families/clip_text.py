"""CLIP's text encoder (Radford et al. 2021), under transformers' names and with its numbers.

It is ours, since transformers takes longer to import than a model to load, and a hundred megabytes of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: What was written to configurations before transformers 4.31, whatever the end's number was.
_OLD_END = 2


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"quick_gelu": _quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True)
class TextConfig:
    """transformers' ``CLIPTextConfig``, as far as it says what is computed, with its defaults."""

    vocab_size: int = 49408
    hidden_size: int = 512
    projection_dim: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act is {self.hidden_act!r}; known: {', '.join(ACTIVATIONS)}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> TextConfig:
        """The configuration in a mapping that may say more. Raises ValueError for what is not known."""
        return cls(**{one.name: config[one.name] for one in fields(cls) if one.name in config})


class TextStates(NamedTuple):
    """What the text encoder says of B texts of T tokens.

    Attributes:
        last_hidden_state: (B, T, D), normed. hidden_states: the tokens' and each layer's, (B, T, D), not normed.
        text_embeds: (B, P), of an encoder that has a projection.
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...]
    text_embeds: Tensor | None = None


class CLIPTextModel(nn.Module):
    """Token ids to states."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        return self.embeddings.token_embedding

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.final_layer_norm.weight.dtype

    def forward(self, input_ids: Tensor, output_hidden_states: bool = True) -> TextStates:
        """(B, T) token ids to their states. The inner ones are given in any case."""
        x = self.embeddings(input_ids)
        states = [x]
        layers: Any = self.encoder.layers
        for layer in layers:
            x = layer(x)
            states.append(x)
        return TextStates(self.final_layer_norm(x), tuple(states))


class CLIPTextModelWithProjection(nn.Module):
    """Token ids to states, and to a vector for each text as a whole: its end's."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = CLIPTextModel(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        """The table of tokens."""
        return self.text_model.get_input_embeddings()

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.text_model.dtype

    def forward(self, input_ids: Tensor, output_hidden_states: bool = True) -> TextStates:
        """(B, T) token ids to their states and (B, P)."""
        out = self.text_model(input_ids)
        last = out.last_hidden_state
        ends = last[torch.arange(len(last), device=last.device), self._ends(input_ids)]
        return out._replace(text_embeds=self.text_projection(ends))

    def _ends(self, input_ids: Tensor) -> Tensor:
        """(B,): where each text's first end is; the end is the last of the vocabulary."""
        end = self.config.eos_token_id
        marks = input_ids if end == _OLD_END else (input_ids == end)
        return marks.int().argmax(-1)


class _Embeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[-1], device=input_ids.device)
        return self.token_embedding(input_ids) + self.position_embedding(places)


class _Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _FeedForward(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Attention(nn.Module):
    """Each token sees itself and those before it."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self._heads = config.num_attention_heads
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (layer(x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for layer in layers)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self._activation(self.fc1(x)))

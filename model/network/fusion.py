"""Feature fusion: projections, dummy tokens, Adaptive Cross Attention, Transformer encoder (section 3.3)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import TEF_DIM, ModelConfig
from model.network.layers import (
    Attention,
    DropPath,
    FeedForward,
    attention_weights,
    merge_heads,
    split_heads,
)

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class _Embedding:
    """Tensors of a batch, all with the samples first."""

    def expand(self, batch: int) -> Self:
        """Repeat a batch of one."""
        return self._map(lambda x: x.expand(batch, *x.shape[1:]))

    def append(self, index: Tensor) -> Self:
        """Repeat the samples of an index behind the batch."""
        return self._map(lambda x: torch.cat([x, x[index]]))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = (getattr(self, entry.name) for entry in fields(self))
        return type(self)(*(None if value is None else change(value) for value in values))


@dataclass(frozen=True)
class QueryEmbedding(_Embedding):
    """Projected queries with the dummies that belong to them.

    Attributes:
        words: (B, T, D) projected tokens.
        mask: (B, T) true where there is a token.
        dummies: (B, N, D) dummy tokens conditioned on the query.
    """

    words: Tensor
    mask: Tensor
    dummies: Tensor


@dataclass(frozen=True)
class VideoEmbedding(_Embedding):
    """Projected videos.

    Attributes:
        clips: (B, L, D).
        positions: (B, L, D) where each clip is in the video.
        mask: (B, L) true where there is a clip.
        directions: (B, L, D) of the existence head; None without it.
        aligned: (B, L, E) of the alignment head; None without it.
    """

    clips: Tensor
    positions: Tensor
    mask: Tensor
    directions: Tensor | None = None
    aligned: Tensor | None = None


class FeatureFusion(nn.Module):
    """Everything of section 3.3 but the highlight head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.video_projection = InputProjection(config.video_dim + TEF_DIM, config)
        self.text_projection = InputProjection(config.text_dim, config)
        self.modality = nn.Parameter(torch.empty(2, dim))  # added to words, to clips
        self.dummies = nn.Parameter(torch.empty(config.dummies, dim))
        self.dummy_positions = nn.Parameter(torch.empty(config.dummies, dim))
        self.dummy_encoder = TransformerEncoder(config, config.dummy_layers, config.dummy_dropout)
        self.cross_attention = AdaptiveCrossAttention(config)
        self.encoder = TransformerEncoder(config, config.encoder_layers, config.dropout)
        self.query_pooling = nn.Linear(dim, 1, bias=False)
        self._reset_parameters()

    def encode_query(self, text: Tensor, text_mask: Tensor) -> QueryEmbedding:
        """Project the tokens and condition the dummies on them.

        Args:
            text: (B, T, D_t).
            text_mask: (B, T) bool.
        """
        words = self.text_projection(text) + self.modality[0]  # (B, T, D)
        count = len(self.dummies)
        dummies = self.dummies.expand(len(text), -1, -1)  # (B, N, D)
        sequence = torch.cat([dummies, words.to(dummies.dtype)], dim=1)  # (B, N + T, D)
        positions = F.pad(self.dummy_positions, (0, 0, 0, text.shape[1]))  # words have none
        mask = F.pad(text_mask, (count, 0), value=True)
        # Only the dummies are read: the words stay as projected, as in the released code.
        return QueryEmbedding(words, text_mask, self.dummy_encoder(sequence, positions, mask, outputs=count))

    def encode_video(self, video: Tensor, video_mask: Tensor) -> VideoEmbedding:
        """Project the clips and place them.

        Args:
            video: (B, L, D_v + 2), the temporal endpoint feature last.
            video_mask: (B, L) bool.
        """
        clips = self.video_projection(video) + self.modality[1]
        return VideoEmbedding(clips, sinusoidal_positions(video_mask, clips.shape[-1]), video_mask)

    def forward(self, video: VideoEmbedding, query: QueryEmbedding) -> tuple[Tensor, Tensor]:
        """Fuse videos with as many queries.

        Returns:
            (B, L, D) fused clips; and (B, L), the share of each clip's attention that falls on words.
        """
        keys = torch.cat([query.dummies + self.dummy_positions, query.words], dim=1)  # (B, N + T, D)
        clips, engagement = self.cross_attention(video.clips, video.positions, keys, query.words, query.mask)
        return self.encoder(clips, video.positions, video.mask), engagement

    def pool_query(self, query: QueryEmbedding) -> Tensor:
        """One vector per query, (B, D): the words, weighed by a learned softmax."""
        scores = self.query_pooling(query.words)[..., 0]  # (B, T)
        scores = scores.masked_fill(~query.mask, torch.finfo(scores.dtype).min)
        pooled: Tensor = scores.softmax(dim=-1)[:, None] @ query.words  # (B, 1, D)
        return pooled[:, 0]

    def _reset_parameters(self) -> None:
        if (
            self.modality.is_meta
        ):  # to be filled from a checkpoint; drawing nothing would still load torch's compiler
            return
        nn.init.normal_(self.modality, std=0.02)
        nn.init.normal_(self.dummies)
        nn.init.normal_(self.dummy_positions)
        for module in (self.cross_attention, self.encoder):
            for parameter in module.parameters():
                if parameter.dim() > 1:
                    nn.init.trunc_normal_(parameter, std=0.02)


class InputProjection(nn.Module):
    """LayerNorm, dropout, linear, once a layer, with a ReLU between layers."""

    def __init__(self, input_dim: int, config: ModelConfig) -> None:
        super().__init__()
        dims = [input_dim] + [config.hidden_dim] * config.input_layers
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims[:-1])
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(dims))
        self.dropout = nn.Dropout(config.input_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, input_dim) → (B, L, D)."""
        for index, (norm, linear) in enumerate(zip(self.norms, self.linears, strict=True)):
            x = linear(self.dropout(norm(x if index == 0 else F.relu(x))))
        return x


class AdaptiveCrossAttention(nn.Module):
    """Clips attend to words, and to dummies that carry nothing: what falls on dummies is attention withheld.

    The paper's equation 1 projects queries, keys and values; the released code, and so this one, splits the
    embeddings themselves into heads. Keys and values therefore are the same in every layer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossAttentionLayer(config) for _ in range(config.cross_attention_layers))
        self.heads = config.heads

    def forward(
        self, clips: Tensor, positions: Tensor, keys: Tensor, words: Tensor, word_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Let clips attend.

        Args:
            clips: (B, L, D).
            positions: (B, L, D).
            keys: (B, N + T, D), dummies first.
            words: (B, T, D).
            word_mask: (B, T) bool.

        Returns:
            (B, L, D) clips; and (B, L), the share of attention on words, over heads and layers.
        """
        count = keys.shape[1] - words.shape[1]
        mask = F.pad(word_mask, (count, 0), value=True)  # (B, N + T); dummies are always there
        key, value = self.split(keys, words)
        engagement = []
        for layer in self.layers:
            clips, share = layer(clips, positions, key, value, mask)
            engagement.append(share)
        return clips, torch.stack(engagement).mean(dim=0).clamp(0, 1)

    def split(self, keys: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, H, N + T, E) and values (B, H, T, E) as `CrossAttentionLayer.attend` reads them."""
        return split_heads(keys, self.heads), split_heads(words.to(keys.dtype), self.heads)


class CrossAttentionLayer(nn.Module):
    """One layer of Adaptive Cross Attention.

    The feed-forward network reads the normalised sum, but is added to the sum as it was: a hybrid of the
    usual two orders that the released weights are trained with.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.output = nn.Linear(dim, dim)
        self.feedforward = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.drop_path = DropPath(config.dropout)
        self.heads = config.heads
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, clips: Tensor, positions: Tensor, key: Tensor, value: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend and transform.

        Args:
            clips: (B, L, D).
            positions: (B, L, D).
            key: (B, H, N + T, E), dummies first.
            value: (B, H, T, E).
            mask: (B, N + T) bool.

        Returns:
            (B, L, D) clips; and (B, L), the share of attention on words.
        """
        query = split_heads((clips + positions).to(key.dtype), self.heads)  # (B, H, L, E)
        attended, engagement = self.attend(query, key, value, mask)
        clips = self.drop_path(clips, self.output, merge_heads(attended))
        return self.norm2(self.drop_path(clips, self._transform, clips)), engagement

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attention that withholds what falls on dummies; dropout leaves alone the share that the losses read.

        Returns:
            (B, H, L, E); and (B, L), the share of attention on words.
        """
        words = value.shape[-2]
        weights = attention_weights(query, key, mask)[..., -words:]  # (B, H, L, T)
        return self.dropout(weights) @ value, weights.sum(dim=-1).mean(dim=1)

    def _transform(self, clips: Tensor) -> Tensor:
        return self.feedforward(self.norm1(clips))  # type: ignore[no-any-return]


class TransformerEncoder(nn.Module):
    """Self-attention layers, normalised after each residual sum."""

    def __init__(self, config: ModelConfig, layers: int, rate: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttentionLayer(config, rate) for _ in range(layers))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, *, outputs: int | None = None) -> Tensor:
        """Encode a sequence.

        Args:
            x: (B, L, D).
            positions: (B, L, D) or (L, D), added to queries and keys of every layer.
            mask: (B, L) bool; what lies outside is not attended to, and comes out as garbage, but finite.
            outputs: how many leading elements are wanted; None wants all.

        Returns:
            (B, outputs, D).
        """
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            x = layer(x, positions, mask, outputs=outputs if last else None)
        return x


class SelfAttentionLayer(nn.Module):
    """Multi-head self-attention and a feed-forward network."""

    def __init__(self, config: ModelConfig, rate: float) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.input = nn.Linear(dim, 3 * dim)  # query, key, value
        self.output = nn.Linear(dim, dim)
        self.feedforward = FeedForward(dim, config.feedforward_dim, rate)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.drop_path = DropPath(rate)
        self.attention = Attention(config.heads, rate)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.zeros_(self.input.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor, *, outputs: int | None = None) -> Tensor:
        """As `TransformerEncoder.forward`."""
        attend_kept = partial(self._attend, outputs=outputs)
        x = self.norm1(self.drop_path(x[:, :outputs], attend_kept, x, x + positions, mask))
        return self.norm2(self.drop_path(x, self.feedforward, x))  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, placed: Tensor, mask: Tensor, *, outputs: int | None) -> Tensor:
        """Self-attention of (B, L, D), queries and keys being `placed`; (B, outputs, D)."""
        weights, biases = self.input.weight.chunk(3), self.input.bias.chunk(3)  # (D, D), (D,) each
        inputs = (placed[:, :outputs], placed, x)
        query, key, value = map(F.linear, inputs, weights, biases)
        return self.output(self.attention(query, key, value, mask))  # type: ignore[no-any-return]


def sinusoidal_positions(mask: Tensor, dim: int) -> Tensor:
    """Sine and cosine of each clip's share of the video, interleaved, at geometric frequencies.

    Args:
        mask: (B, L) bool, valid clips first.
        dim: channels, even.

    Returns:
        (B, L, dim) float32; padded clips repeat the last valid one.
    """
    position = mask.cumsum(dim=1, dtype=torch.float32)
    position = position / (position[:, -1:] + 1e-6) * (2 * math.pi)
    channel = torch.arange(0, dim, 2, dtype=torch.float32, device=mask.device)
    angle = position[..., None] / 10000 ** (channel / dim)  # (B, L, dim / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(2)

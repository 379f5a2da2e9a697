"""A Transformer encoder from random weights that learns from tens of thousands of texts (Vaswani et al. 2017).

Norms stand before attention and feed-forward (Xiong et al. 2020), so that it trains at a high rate
without a long warm-up; positions are sinusoids, so that no length is too long.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from registry.models.embeddings import sinusoids
from registry.models.networks.network import Encoder


class Block(nn.Module):
    """Attention and feed-forward, each normed before and added after."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, allowed: Tensor) -> Tensor:
        """(batch, length, width) states; `allowed` (batch, 1, 1, length) are the positions to look at."""
        batch, length, width = states.shape
        projected = self.projections(self.attention_norm(states)).view(batch, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        states = states + self.dropout(self.merge(seen.transpose(1, 2).reshape(batch, length, width)))
        return states + self.dropout(self.contract(F.gelu(self.expand(self.feed_forward_norm(states)))))


class TransformerEncoder(Encoder):
    """Blocks over word vectors and positions."""

    def __init__(self, width: int, layers: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(Block(width, heads, inner, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                # What is added to the stream starts small, so that its variance stays that of the input.
                added = name.endswith(("merge.weight", "contract.weight"))
                nn.init.xavier_uniform_(parameter, gain=(2 * layers) ** -0.5 if added else 1.0)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Token states, normed."""
        positions = sinusoids(embedded.shape[1], self.width, embedded.device)
        states, allowed = embedded + positions.to(embedded.dtype) * embedded.shape[2] ** -0.5, mask[:, None, None, :]
        for block in self.blocks:
            states = block(states, allowed)
        return self.norm(states)

    def depths(self) -> dict[str, int]:
        """Blocks from 1; the closing norm belongs to the last."""
        names = (name for name, _ in self.named_parameters())
        return {name: int(name.split(".")[1]) + 1 if name.startswith("blocks.") else len(self.blocks) for name in names}

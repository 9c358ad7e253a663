"""The samples of a streamed window by their definition: one stream, no batch, and every frame is kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neucodec_tts import NeuCodec
from neucodec_tts.codec.decoder import DecoderLayer, ResNetBlock


class Remembering:
    """Decodes the windows of one stream; each place of the decoder keeps all settled frames that came by, (frames, C).

    Args:
        codec: whose decoder it is.
        lookback: settled frames that attention sees.
    """

    def __init__(self, codec: NeuCodec, lookback: int) -> None:
        self.codec = codec
        self.lookback = lookback
        self._kept: dict[str, Tensor] = {}
        self._settled = 0

    @torch.no_grad()
    def decode(self, codes: Tensor, settled: int) -> Tensor:
        """Codes (frames,) to samples (480 * frames,); the first ``settled`` of them will be remembered."""
        self._settled = settled
        decoder = self.codec.acoustic_decoder
        x = self._conv("embed", decoder.embed, decoder.fc(self.codec.quantizer.lookup(codes[None]))[0])
        for i, block in enumerate(decoder.prior_net):
            assert isinstance(block, ResNetBlock)
            x = self._block(f"prior {i}", block, x)
        for i, layer in enumerate(decoder.layers):
            assert isinstance(layer, DecoderLayer)
            x = x + self._attention(f"layer {i}", layer, layer.input_layernorm(x))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        for i, block in enumerate(decoder.post_net):
            assert isinstance(block, ResNetBlock)
            x = self._block(f"post {i}", block, x)
        return self._sound(decoder.norm(x))

    def _joined(self, place: str, x: Tensor) -> tuple[Tensor, int]:
        """All settled frames before and ``x`` behind them, and how many they are; what is settled of ``x`` is kept."""
        before = self._kept.get(place, x[:0])
        self._kept[place] = torch.cat([before, x[: self._settled]])
        return torch.cat([before, x]), len(before)

    def _block(self, place: str, block: ResNetBlock, x: Tensor) -> Tensor:
        hidden = self._conv(place + " conv1", block.conv1, F.silu(self._norm(place + " 1", block.norm1, x)))
        hidden = F.silu(self._norm(place + " 2", block.norm2, hidden))
        return x + self._conv(place + " conv2", block.conv2, hidden)

    def _conv(self, place: str, layer: nn.Conv1d, x: Tensor) -> Tensor:
        joined, before = self._joined(place, x)
        convolved: Tensor = layer(joined.T[None])[0].T
        return convolved[before:]

    def _norm(self, place: str, layer: nn.GroupNorm, x: Tensor) -> Tensor:
        joined, before = self._joined(place, x)
        normed: Tensor = layer(joined.T[None])[0].T
        return normed[before:]

    def _attention(self, place: str, layer: DecoderLayer, x: Tensor) -> Tensor:
        own = layer.self_attn
        keys, before = self._joined(place + " keys", own.k_proj(x))
        values, _ = self._joined(place + " values", own.v_proj(x))
        since = max(0, before - self.lookback)
        query, key, value = (
            each.view(len(each), own.num_heads, own.head_dim).transpose(0, 1)
            for each in (own.q_proj(x), keys[since:], values[since:])
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(0, 1)
        projected: Tensor = own.o_proj(attended.reshape(len(x), -1))
        return projected

    def _sound(self, x: Tensor) -> Tensor:
        head = self.codec.acoustic_decoder.head
        magnitude, phase = head.linear(x).chunk(2, dim=-1)
        spectrum = torch.polar(magnitude.exp().clamp(max=1e2), phase)
        pieces, before = self._joined("pieces", torch.fft.irfft(spectrum, head.n_fft) * head.window)
        signal = torch.zeros(head.hop_length * len(pieces) + head.n_fft)
        weight = torch.zeros_like(signal)
        for i, piece in enumerate(pieces):
            start = head.hop_length * i
            signal[start : start + head.n_fft] += piece
            weight[start : start + head.n_fft] += head.window**2
        padding = (head.n_fft - head.hop_length) // 2
        first, last = (padding + head.hop_length * frames for frames in (before, len(pieces)))
        return signal[first:last] / weight[first:last]

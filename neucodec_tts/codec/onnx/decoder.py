"""The decoder as an ONNX graph, for whole items and for the windows of a stream."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import nn

from neucodec_tts.codec.decoder import Attention, DecoderLayer, ISTFTHead, ResNetBlock
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.onnx.graph import Graph, Value


class DecoderGraph:
    """Adds the decoder to a graph, as it computes on ``ContinuedFrames``; whole items go on from an empty memory.

    The memory is laid out as ``Decoder.memory_layout`` says. Its length tells how far attention looks back.

    Args:
        codec: has the weights.
        graph: to add to.
        memory: of the frames before, float32 (B, S).
        settled: frames that are remembered, int64 (1,).
        before: frames that came before, int64 (1,).
    """

    def __init__(self, codec: NeuCodec, graph: Graph, memory: Value, settled: Value, before: Value) -> None:
        self._codec = codec
        self._decoder = codec.acoustic_decoder
        self._graph = graph
        self._memory = memory
        self._settled = settled
        self._before = before
        self._states: dict[nn.Module, Value] = {}
        self._bias: Value | None = None  # of attention's scores, the same in every layer
        # Every place and length is a + b * lookback.
        none, one = self._decoder.memory_layout(0), self._decoder.memory_layout(1)
        self._layout, self._layout_of_one = none, one
        self._lookback = (memory.size(1) - none.size) / (one.size - none.size)

    def decode(self, codes: Value) -> tuple[Value, Value]:
        """Codes, int32 (B, 1, L), to audio, float32 (B, 1, L * hop), and the memory afterwards, (B, S)."""
        decoder = self._decoder
        self._graph.inside("quantizer")
        x = self._graph.linear(decoder.fc, self._lookup(codes))
        self._length = x.size(1)
        self._shares()
        self._graph.inside("embed")
        x = self._conv1d(decoder.embed, x)
        for name, blocks in (("prior_net", decoder.prior_net), ("post_net", decoder.post_net)):
            for index, block in enumerate(blocks):
                self._graph.inside(f"{name}.{index}")
                x = self._block(block, x)  # type: ignore[arg-type]
            if name == "prior_net":
                for index, layer in enumerate(decoder.layers):
                    self._graph.inside(f"layers.{index}")
                    x = self._layer(layer, x)  # type: ignore[arg-type]
        self._graph.inside("head")
        audio = self._head(decoder.head, self._graph.layer_norm(decoder.norm, x))
        states = [self._states[layer].reshape(0, -1) for layer in self._layout.layers]
        return audio.unsqueeze(1), self._graph.op("Concat", *states, axis=1)

    def _lookup(self, codes: Value) -> Value:
        quantizer = self._codec.quantizer
        digits = codes.to(TensorProto.INT64).reshape(0, -1, 1) / quantizer.basis.long()
        digits = self._graph.op("Mod", digits, quantizer.levels.long())
        half = (quantizer.levels // 2).float()
        return self._graph.linear(
            quantizer.project_out, (digits.to(TensorProto.FLOAT) - half) / half, exact=True
        )

    def _shares(self) -> None:
        """What group norms share: weights of the settled frames, and shares of now and then in all means."""
        graph = self._graph
        index = graph.op("Range", 0, self._length.reshape(), 1)
        inside = graph.op("Less", index, self._settled).to(TensorProto.FLOAT)
        self._settled_weights = (inside / self._settled.to(TensorProto.FLOAT)).unsqueeze(0, 1)  # (1, 1, L)
        counts = graph.op("Concat", self._length, self._settled, axis=0)
        share = counts.to(TensorProto.FLOAT) / (counts + self._before).to(TensorProto.FLOAT)
        self._now = share.reshape(1, 2, 1)
        self._then = graph.op("Sub", 1.0, self._now)
        self._both = self._now * self._then

    # Memory

    def _recall(self, place: nn.Module) -> Value:
        """The state that a layer kept, (B, rows, columns)."""
        start, shape = self._layout.place(place)
        start_of_one, shape_of_one = self._layout_of_one.place(place)
        if start == start_of_one and shape == shape_of_one:
            return self._memory.part(1, start, start + shape[0] * shape[1]).reshape(0, *shape)
        begin = self._lookback * (start_of_one - start) + start
        if shape == shape_of_one:
            return self._memory.part(1, begin, begin + shape[0] * shape[1]).reshape(0, *shape)
        return self._memory.part(1, begin, begin + self._lookback * shape[1]).reshape(
            self._memory.size(0), self._lookback, shape[1]
        )

    def _remember(self, place: nn.Module, x: Value, count: int | Value) -> Value:
        """``x`` (B, L, C) behind the ``count`` frames that came to a layer before."""
        joined = self._graph.op("Concat", self._recall(place), x, axis=1)
        self._states[place] = joined.part(1, self._settled, self._settled + count)
        return joined

    def _behind(self, count: int | Value) -> Value:
        """1 where there were frames among the last ``count`` and 0 where there were none, float32 (count + L,)."""
        graph = self._graph
        size = count if isinstance(count, Value) else graph.value([count])
        place = graph.op("Range", 0, (size + self._length).reshape(), 1)
        return graph.op("GreaterOrEqual", place, size - self._before).to(TensorProto.FLOAT)

    # Layers

    def _conv1d(self, layer: nn.Conv1d, x: Value) -> Value:
        (kernel,) = layer.kernel_size
        around = self._remember(layer, x, kernel // 2).pad(1, 0, kernel // 2)
        shifted = [around.part(1, i, self._length + i) for i in range(kernel)]
        weight = layer.weight.detach().float().permute(2, 1, 0).flatten(0, 1).contiguous()
        product = self._graph.multiply(self._graph.op("Concat", *shifted, axis=2), weight)
        return product if layer.bias is None else product + layer.bias.detach().float()

    def _group_norm(self, layer: nn.GroupNorm, x: Value) -> Value:
        graph, groups = self._graph, layer.num_groups
        x = x.reshape(0, 0, groups, -1)
        centre = x.part(1, 0, 1).mean(3)
        centred = x - centre
        centre = centre.reshape(0, 1, groups)

        def means(values: Value) -> Value:  # of all frames and of those that are settled, (B, 2, groups)
            of_groups = values.mean(3).reshape(0, 0, groups)
            return graph.op("Concat", of_groups.mean(1), self._settled_weights @ of_groups, axis=1)

        shift, squares = means(centred), means(centred * centred)
        known = self._recall(layer)
        mean_before, variance_before = known.part(1, 0, 1), known.part(1, 1, 2)
        difference = centre + shift - mean_before
        mean = mean_before + self._now * difference
        variance = self._now * (squares - shift * shift) + self._then * variance_before
        variance = variance + self._both * difference * difference
        self._states[layer] = graph.op("Concat", mean.part(1, 1), variance.part(1, 1), axis=1)
        scale = graph.op("Reciprocal", graph.op("Sqrt", variance.part(1, 0, 1) + layer.eps))
        shift = (centre - mean.part(1, 0, 1)) * scale
        weight = layer.weight.detach().float().view(groups, -1)
        bias = layer.bias.detach().float().view(groups, -1)
        scale, shift = scale.unsqueeze(3) * weight, shift.unsqueeze(3) * weight + bias
        return (centred * scale + shift).reshape(0, 0, -1)

    def _block(self, block: ResNetBlock, x: Value) -> Value:
        hidden = self._conv1d(block.conv1, self._group_norm(block.norm1, x).silu())
        return x + self._conv1d(block.conv2, self._group_norm(block.norm2, hidden).silu())

    def _rms_norm(self, layer: nn.RMSNorm, x: Value) -> Value:
        square = self._graph.op("Pow", x, 2.0).mean(2)
        return x / self._graph.op("Sqrt", square + float(layer.eps or 0.0)) * layer.weight.detach().float()

    def _layer(self, layer: DecoderLayer, x: Value) -> Value:
        x = x + self._attention(layer.self_attn, self._rms_norm(layer.input_layernorm, x))
        hidden = self._rms_norm(layer.post_attention_layernorm, x)
        return x + self._graph.linear(layer.mlp.fc2, self._graph.linear(layer.mlp.fc1, hidden).silu())

    def _attention(self, layer: Attention, x: Value) -> Value:
        graph = self._graph
        key, value = (
            self._remember(each, graph.linear(each, x), self._lookback)
            for each in (layer.k_proj, layer.v_proj)
        )
        query, key, value = (
            graph.heads(each, layer.num_heads) for each in (graph.linear(layer.q_proj, x), key, value)
        )
        if self._bias is None:  # no weight where there are no frames
            self._bias = (self._behind(self._lookback) - 1.0) * 1e9
        return graph.linear(
            layer.o_proj, graph.attention(query, key, value, layer.head_dim**-0.5, self._bias)
        )

    def _head(self, head: ISTFTHead, x: Value) -> Value:
        graph, bins = self._graph, head.n_fft // 2 + 1
        spectrum = graph.linear(head.linear, x, exact=True)
        magnitude = graph.op("Min", graph.op("Exp", spectrum.part(2, 0, bins)), 100.0)
        phase = spectrum.part(2, bins)
        real, imaginary = magnitude * graph.op("Cos", phase), magnitude * graph.op("Sin", phase)
        pieces = graph.op("Concat", real, imaginary, axis=2) @ self._inverse_fourier(head)
        pieces = self._remember(head, pieces, head.reach)
        there = self._behind(head.reach).reshape(1, -1, 1)
        weight = self._overlap_add(head, there * head.window.square())
        audio = self._overlap_add(head, pieces) / graph.op("Max", weight, 1e-11)
        return audio.part(1, self._length * -head.hop_length)

    def _inverse_fourier(self, head: ISTFTHead) -> Value:
        """The windowed inverse FFT as a matrix, (n_fft + 2, n_fft), for real and imaginary parts.

        It is made of one period of a cosine when the file is loaded, which keeps 15 MB out of it.
        """
        graph, size = self._graph, head.n_fft
        cosine = torch.cos(torch.arange(size, dtype=torch.float64) * (2 * torch.pi / size)).float()
        weight = torch.full((size // 2 + 1, 1), 2.0 / size)
        weight[[0, -1]] = 1.0 / size
        turns = graph.value(torch.arange(size // 2 + 1)[:, None]) * graph.op("Range", 0, size, 1)
        parts = []
        for shift in (0, size // 4):  # -sin x is cos(x + 90 degrees)
            waves = graph.op("Gather", cosine, graph.op("Mod", turns + shift, size))
            parts.append(waves * weight * head.window)
        return graph.op("Concat", *parts, axis=0)

    def _overlap_add(self, head: ISTFTHead, pieces: Value) -> Value:
        """Pieces (B, L, n_fft), a hop apart, to (B, L * hop), without the padding on either side."""
        overlap, padding = head.n_fft // head.hop_length, (head.n_fft - head.hop_length) // 2
        parts = [
            pieces.part(2, i * head.hop_length, (i + 1) * head.hop_length).pad(1, i, overlap - 1 - i)
            for i in range(overlap)
        ]
        return self._graph.op("Sum", *parts).reshape(0, -1).part(1, padding, -padding)


def decoder_graph(codec: NeuCodec, *, half: bool = False, int8: bool = False) -> Graph:
    """Whole items: ``codes`` int32 (B, 1, L) to ``audio`` float32 (B, 1, L * hop).

    Inputs and outputs are those of the published ``neuphonic/neucodec-onnx-decoder``.
    """
    graph = Graph("decoder", half=half, int8=int8)
    codes = graph.input("codes", "int32", ["batch", 1, "frames"])
    size = codec.acoustic_decoder.memory_layout(0).size
    nothing = graph.op("ConstantOfShape", graph.op("Concat", codes.size(0), [size], axis=0))
    decoder = DecoderGraph(codec, graph, nothing, codes.size(2), graph.value([0]))
    audio, _memory = decoder.decode(codes)
    graph.output("audio", audio, "float", ["batch", 1, "samples"])
    return graph


def streaming_decoder_graph(codec: NeuCodec, *, half: bool = False, int8: bool = False) -> Graph:
    """Windows of a stream.

    Inputs are ``codes`` int32 (B, 1, L), ``memory`` float32 (B, S), zeros at the beginning, ``settled`` int32 (1,),
    the frames of ``codes`` that are remembered, and ``before`` int32 (1,), the frames that came before. Outputs are
    ``audio`` float32 (B, 1, L * hop) and ``next_memory`` float32 (B, S).
    """
    graph = Graph("streaming_decoder", half=half, int8=int8)
    codes = graph.input("codes", "int32", ["batch", 1, "frames"])
    memory = graph.input("memory", "float", ["batch", "memory"])
    settled = graph.input("settled", "int32", [1]).to(TensorProto.INT64)
    before = graph.input("before", "int32", [1]).to(TensorProto.INT64)
    audio, next_memory = DecoderGraph(codec, graph, memory, settled, before).decode(codes)
    graph.output("audio", audio, "float", ["batch", 1, "samples"])
    graph.output("next_memory", next_memory, "float", ["batch", "memory"])
    return graph

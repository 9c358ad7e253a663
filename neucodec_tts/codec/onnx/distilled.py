"""The encoder of the distilled codec as parts of an ONNX graph."""

from __future__ import annotations

from typing import Any

import torch

from neucodec_tts.codec.distilled.encoder import ConvUnit, DistillAcousticEncoder, Snake, TrendConvolutions
from neucodec_tts.codec.distilled.hubert import PADDING, DistilHubert
from neucodec_tts.codec.distilled.local_attention import LocalLayer, LocalTransformer
from neucodec_tts.codec.onnx.graph import Graph, Value

_NEVER = -1e9  # a score that leaves a key no weight


def hubert_states(graph: Graph, hubert: DistilHubert, waveform: Value, normalize: bool) -> Value:
    """(1, 1, T), T a multiple of the hop, to the last hidden states (1, T / hop, hidden)."""
    x = waveform.pad(2, PADDING, PADDING)
    if normalize:
        x = x - x.mean(2)
        x = x / graph.op("Sqrt", (x * x).mean(2) + 1e-7)
    convolutions: Any = (
        hubert.feature_extractor.conv_layers
    )  # transformers names no classes for what lies in lists
    for index, layer in enumerate(convolutions):
        x = graph.conv1d(layer.conv, x)
        if index == 0:
            norm = layer.layer_norm
            scale, bias = norm.weight.detach().float(), norm.bias.detach().float()
            x = graph.op("InstanceNormalization", x, scale, bias, epsilon=norm.eps)
        x = x.gelu()
    x = x.transpose(0, 2, 1)
    projection = hubert.feature_projection
    if projection.feat_proj_layer_norm:
        x = graph.layer_norm(projection.layer_norm, x)
    x = graph.linear(projection.projection, x)
    encoder = hubert.encoder
    position = encoder.pos_conv_embed
    around = graph.conv1d(position.conv, x.transpose(0, 2, 1)).part(2, 0, x.size(1))
    x = graph.layer_norm(encoder.layer_norm, x + around.gelu().transpose(0, 2, 1))
    layers: Any = encoder.layers
    for layer in layers:
        attention, heads = layer.attention, layer.attention.num_heads
        query, key, value = (
            graph.heads(graph.linear(each, x), heads)
            for each in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended = graph.attention(query, key, value, attention.scaling, None)
        x = graph.layer_norm(layer.layer_norm, x + graph.linear(attention.out_proj, attended))
        hidden = graph.linear(layer.feed_forward.intermediate_dense, x).gelu()
        x = graph.layer_norm(
            layer.final_layer_norm, x + graph.linear(layer.feed_forward.output_dense, hidden)
        )
    return x


def acoustic_vectors(graph: Graph, encoder: DistillAcousticEncoder, waveform: Value) -> Value:
    """(1, 1, T), T a multiple of the hop, to (1, acoustic_size, T / hop)."""
    x = _trends(graph, encoder.trends, waveform)
    for stage in encoder.stages:
        for unit in stage.units:  # type: ignore[union-attr]
            x = _unit(graph, unit, x)
        x = graph.conv1d(stage.conv, x)  # type: ignore[arg-type]
    x = _local_transformer(graph, encoder.transformer1, x.transpose(0, 2, 1))
    x = graph.conv1d(encoder.down, x.transpose(0, 2, 1)).transpose(0, 2, 1)
    x = _local_transformer(graph, encoder.transformer2, x)
    return graph.linear(encoder.fc, x).transpose(0, 2, 1)


def _trends(graph: Graph, layer: TrendConvolutions, waveform: Value) -> Value:
    trends = []
    for conv, size in zip(layer.convs, layer.pool_sizes, strict=True):
        pooled = waveform
        if size > 1:
            settings = {"kernel_shape": [size], "pads": [size // 2, size // 2]}
            pooled = graph.op("MaxPool", graph.op("Abs", waveform), **settings)
            pooled = graph.op("AveragePool", pooled, count_include_pad=1, **settings)
        trends.append(graph.conv1d(conv, pooled))  # type: ignore[arg-type]
    mixed = graph.conv1d(layer.mix1, graph.op("Concat", *trends, axis=1)).gelu()
    return graph.conv1d(layer.mix2, graph.op("Concat", mixed, waveform, axis=1))


def _unit(graph: Graph, unit: ConvUnit, x: Value) -> Value:
    hidden = graph.conv1d(unit.fc1, graph.conv1d(unit.depthwise, x))
    return x + graph.conv1d(unit.fc2, _snake(graph, unit.snake, hidden))


def _snake(graph: Graph, layer: Snake, x: Value) -> Value:
    alpha = layer.alpha.detach().float()[:, None]
    sine = graph.op("Sin", x * alpha)
    return x + sine * sine * (alpha + torch.finfo(torch.float32).eps).reciprocal()


def _local_transformer(graph: Graph, transformer: LocalTransformer, x: Value) -> Value:
    """(1, L, C) to (1, L, C), all windows at once. One that is longer than the whole is cut to it."""
    size, table = x.size(1), transformer.position_bias(2 * transformer.window).detach().float()
    window = graph.op("Min", size, transformer.window)
    windows = (size + window - 1) / window
    rows = x.pad(1, 0, windows * window - size).reshape(windows, window, x.size(2))

    queries = graph.op("Range", 0, window.reshape(), 1).unsqueeze(1)
    keys = graph.op("Range", 0, (window * 2).reshape(), 1)
    distance = queries + window - keys  # of a key, behind the window before
    bias = graph.op("Gather", table, graph.op("Max", distance, 0), axis=1)
    bias = graph.op("Where", graph.op("Less", distance, 0), _NEVER, bias)
    # The first window has none before it.
    first = graph.op("Equal", graph.op("Range", 0, windows.reshape(), 1), 0).reshape(-1, 1, 1, 1)
    bias = graph.op("Where", graph.op("And", first, graph.op("Less", keys, window)), _NEVER, bias)
    for layer in transformer.layers:
        rows = _local_layer(graph, layer, rows, bias)  # type: ignore[arg-type]
    return rows.reshape(1, -1, x.size(2)).part(1, 0, size)


def _local_layer(graph: Graph, layer: LocalLayer, rows: Value, bias: Value) -> Value:
    width = layer.out.in_features
    qkv = graph.linear(layer.qkv, graph.layer_norm(layer.attention_norm, rows))
    query, key, value = (qkv.part(2, i * width, (i + 1) * width) for i in range(3))

    def with_before(own: Value) -> Value:
        before = own.pad(0, 1, 0).part(0, 0, -1)
        return graph.heads(graph.op("Concat", before, own, axis=1), layer.heads)

    scale = (width // layer.heads) ** -0.5
    attended = graph.attention(
        graph.heads(query, layer.heads), with_before(key), with_before(value), scale, bias
    )
    rows = rows + graph.linear(layer.out, attended)
    hidden = graph.linear(layer.fc1, graph.layer_norm(layer.feed_forward_norm, rows))
    inner = layer.fc2.in_features
    return rows + graph.linear(layer.fc2, hidden.part(2, 0, inner) * hidden.part(2, inner).gelu())

"""The encoder as an ONNX graph: 16 kHz waveform to codes, features and padding included."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import nn
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertEncoderLayer

from neucodec_tts.codec.acoustic_encoder import AcousticEncoder, AntiAliasedSnake, resampling_matrices
from neucodec_tts.codec.distilled.distill_neucodec import DistillNeuCodec
from neucodec_tts.codec.features import FRAME_LENGTH, FRAME_SHIFT, MEL_FLOOR, N_MELS, fourier_and_filters
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.onnx.distilled import acoustic_vectors, hubert_states
from neucodec_tts.codec.onnx.graph import Graph, Value
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.relative_attention import RelativeAttention
from neucodec_tts.codec.semantic_encoder import SemanticAdapter, SemanticEncoder


def encoder_graph(codec: NeuCodec, *, half: bool = False) -> Graph:
    """Recordings of any length: ``audio`` float32 (1, 1, T) at 16 kHz to ``codes`` int32 (1, 1, frames)."""
    graph = Graph("encoder", half=half)
    audio = graph.input("audio", "float", [1, 1, "samples"])
    hop = codec.input_hop_length
    # Upstream appends a whole hop where the waveform is aligned already.
    waveform = audio.pad(2, 0, hop - graph.op("Mod", audio.size(2), hop))
    if isinstance(codec, DistillNeuCodec):
        graph.inside("semantic_encoder")
        semantic = hubert_states(graph, codec.semantic_encoder, waveform, codec.config.normalize_waveform)
        semantic = _adapt(graph, codec.semantic_adapter, semantic.transpose(0, 2, 1))
        graph.inside("acoustic_encoder")
        acoustic = acoustic_vectors(graph, codec.acoustic_encoder, waveform)
    else:
        graph.inside("features")
        features = _semantic_features(graph, waveform, getattr(codec.config, "semantic_margin", 0))
        semantic = _semantic(graph, codec.semantic_encoder, features)
        semantic = _adapt(graph, codec.semantic_adapter, semantic.transpose(0, 2, 1))
        graph.inside("acoustic_encoder")
        acoustic = _acoustic(graph, codec.acoustic_encoder, waveform).part(2, 0, semantic.size(2))
    graph.inside("quantizer")
    joined = graph.op("Concat", semantic, acoustic, axis=1).transpose(0, 2, 1)
    codes = _quantize(graph, codec.quantizer, graph.linear(codec.fc_encoder, joined))
    graph.output("codes", codes, "int32", [1, 1, "frames"])
    return graph


def _quantize(graph: Graph, quantizer: FiniteScalarQuantizer, latents: Value) -> Value:
    half_range, offset, shift = (each.float() for each in quantizer.bounds())
    x = graph.linear(quantizer.project_in, latents)
    for _ in range(2):  # the checkpoints' quirk, see FiniteScalarQuantizer.bounded
        x = graph.op("Tanh", x + shift) * half_range - offset
    digits = graph.op("Round", x).to(TensorProto.INT64) + (quantizer.levels // 2).long()
    codes = graph.op("ReduceSum", digits * quantizer.basis.long(), [2], keepdims=0)
    return codes.unsqueeze(1).to(TensorProto.INT32)


# Kaldi's filter bank, and Wav2Vec2-BERT


def _semantic_features(graph: Graph, waveform: Value, margin: int) -> Value:
    """(1, 1, T) to normalised features (1, frames, 160); in float64 where ``features.log_mel`` is."""
    fourier, filters = fourier_and_filters(torch.float64)
    samples = (waveform.pad(2, margin, margin).reshape(-1) * float(2**15)).to(TensorProto.DOUBLE)
    count = (samples.size(0) - FRAME_LENGTH) / FRAME_SHIFT + 1
    count = count - graph.op("Mod", count, 2)
    starts = graph.op("Range", 0, count.reshape(), 1) * FRAME_SHIFT
    frames = graph.op("Gather", samples, starts.unsqueeze(1) + np.arange(FRAME_LENGTH), axis=0)
    spectrum = frames @ fourier
    bins = fourier.shape[1] // 2
    real, imaginary = spectrum.part(1, 0, bins), spectrum.part(1, bins)
    energies = (real * real + imaginary * imaginary) @ filters
    mels = graph.op("Log", graph.op("Max", energies, np.float64(MEL_FLOOR)))
    mels = mels.to(TensorProto.FLOAT).to(TensorProto.DOUBLE)
    centred = mels - mels.mean(0)
    variance = graph.op("ReduceSum", centred * centred, [0]) / (count - 1).to(TensorProto.DOUBLE)
    normed = centred / graph.op("Sqrt", variance + np.float64(1e-7))
    return normed.to(TensorProto.FLOAT).reshape(1, -1, 2 * N_MELS)


def _semantic(graph: Graph, encoder: SemanticEncoder, features: Value) -> Value:
    projection = encoder.feature_projection
    graph.inside("semantic_encoder")
    x = graph.linear(projection.projection, graph.layer_norm(projection.layer_norm, features))
    distances: Value | None = None
    layers: Any = encoder.encoder.layers  # torch names no class for what lies in a list
    for index, layer in enumerate(layers):
        graph.inside(f"semantic_encoder.{index}")
        if distances is None and layer.self_attn.distance_embedding is not None:
            distances = _distances(graph, layer.self_attn, x)
        x = _conformer(graph, layer, x, distances)
    return x


def _distances(graph: Graph, attention: RelativeAttention, x: Value) -> Value:
    """Index of the embedding of each distance, int64 (L queries, L keys)."""
    positions = graph.op("Range", 0, x.size(1).reshape(), 1)
    distance = positions - positions.unsqueeze(1)
    return graph.op("Clip", distance, -attention.left, attention.right) + attention.left


def _conformer(graph: Graph, layer: Wav2Vec2BertEncoderLayer, x: Value, distances: Value | None) -> Value:
    attention: Any = layer.self_attn  # a RelativeAttention, where transformers has its own

    def feed_forward(norm: nn.LayerNorm, part: nn.Module, x: Value) -> Value:
        hidden = graph.linear(part.intermediate_dense, graph.layer_norm(norm, x)).silu()  # type: ignore[arg-type]
        return graph.linear(part.output_dense, hidden) * 0.5 + x  # type: ignore[arg-type]

    x = feed_forward(layer.ffn1_layer_norm, layer.ffn1, x)
    x = x + _relative_attention(graph, attention, graph.layer_norm(layer.self_attn_layer_norm, x), distances)
    conv = layer.conv_module
    hidden = graph.conv1d(conv.pointwise_conv1, graph.layer_norm(conv.layer_norm, x).transpose(0, 2, 1))
    channels = conv.pointwise_conv2.in_channels
    hidden = hidden.part(1, 0, channels) * graph.op("Sigmoid", hidden.part(1, channels))
    hidden = graph.conv1d(conv.depthwise_conv, hidden.pad(2, conv.depthwise_conv.kernel_size[0] - 1, 0))
    hidden = graph.layer_norm(conv.depthwise_layer_norm, hidden.transpose(0, 2, 1)).silu().transpose(0, 2, 1)
    x = x + graph.conv1d(conv.pointwise_conv2, hidden).transpose(0, 2, 1)
    x = feed_forward(layer.ffn2_layer_norm, layer.ffn2, x)
    return graph.layer_norm(layer.final_layer_norm, x)


def _relative_attention(graph: Graph, layer: RelativeAttention, x: Value, distances: Value | None) -> Value:
    query, key, value = (
        graph.heads(graph.linear(each, x), layer.num_heads)
        for each in (layer.linear_q, layer.linear_k, layer.linear_v)
    )
    scale = layer.head_size**-0.5
    bias = None
    if layer.distance_embedding is not None and distances is not None:
        by_distance = (query * scale) @ layer.distance_embedding.weight.detach().float().T.contiguous()
        index = graph.op("Expand", distances, graph.op("Concat", [1, layer.num_heads, 1], x.size(1), axis=0))
        bias = graph.op("GatherElements", by_distance, index, axis=3)
    return graph.linear(layer.linear_out, graph.attention(query, key, value, scale, bias))


def _adapt(graph: Graph, adapter: SemanticAdapter, x: Value) -> Value:
    graph.inside("semantic_adapter")
    residual = graph.op("Relu", graph.conv1d(adapter.conv1, x))
    x = graph.op("Relu", graph.conv1d(adapter.conv2, residual))
    return graph.conv1d(adapter.conv4, graph.conv1d(adapter.conv3, x) + residual)


# BigCodec's acoustic encoder


def _acoustic(graph: Graph, encoder: AcousticEncoder, waveform: Value) -> Value:
    x = graph.conv1d(encoder.conv1, waveform)
    blocks: Any = encoder.block
    for index, block in enumerate(blocks):
        graph.inside(f"acoustic_encoder.{index}")
        for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
            hidden = graph.conv1d(unit.conv1, _snake(graph, unit.snake1, x))
            x = x + graph.conv1d(unit.conv2, _snake(graph, unit.snake2, hidden))
        x = graph.conv1d(block.conv1, _snake(graph, block.snake1, x))
    return graph.conv1d(encoder.conv2, _snake(graph, encoder.snake1, x))


def _snake(graph: Graph, layer: AntiAliasedSnake, x: Value) -> Value:
    up, down = resampling_matrices()
    block = up.shape[1] // 2
    size = x.size(2)
    blocks = (size + (block - 1)) / block
    spare = blocks * block - size
    x = x.pad(2, 3, spare + 3, mode="edge")
    x = _blocks(graph, x, blocks, block, 6) @ up
    x = x.reshape(0, 0, -1).part(2, 0, size * 2)
    frequency = layer.act.alpha.detach().float().exp()[:, None]
    magnitude = (layer.act.beta.detach().float().exp() + 1e-9).reciprocal()[:, None]
    sine = graph.op("Sin", x * frequency)
    x = (x + sine * sine * magnitude).pad(2, 5, spare * 2 + 5, mode="edge")
    x = _blocks(graph, x, blocks, 2 * block, 10) @ down
    return x.reshape(0, 0, -1).part(2, 0, size)


def _blocks(graph: Graph, x: Value, blocks: Value, size: int, more: int) -> Value:
    """Overlapping blocks: (B, C, blocks * size + more) to (B, C, blocks, size + more)."""
    own = x.part(2, 0, blocks * size).reshape(0, 0, -1, size)
    following = x.pad(2, 0, size - more).part(2, size).reshape(0, 0, -1, size)
    return graph.op("Concat", own, following.part(3, 0, more), axis=3)

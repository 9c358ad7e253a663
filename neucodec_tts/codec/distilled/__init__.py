"""Distill-NeuCodec: NeuCodec's decoder behind an encoder of a tenth of the size."""

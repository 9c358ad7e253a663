"""The codec as ONNX files: written from a ``NeuCodec``, and run by ONNX Runtime."""

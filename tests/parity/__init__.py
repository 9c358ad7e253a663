"""Our codec beside the two others that exist: upstream's ``neucodec`` 0.0.6 and transformers' ``NeuCodecModel``."""

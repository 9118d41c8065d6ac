"""Trained network -> model file, written only if it, executed, gives what its network gives.

`onnx_file` and `coreml_file` write, `parity` compares. ONNX files are run by ONNX Runtime; Core ML
cannot run here, so `mlprogram` and `neuralnetwork` read its files from the disk and run them in
NumPy, with the operators of `kernels`.
"""

import logging


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a message of coremltools says more than what is known to be so here.

    Its newest release was tested with an older torch, which is why each file is executed and
    compared; and it has no Core ML to load outside macOS, which is why we execute it ourselves.
    """
    known = ("has not been tested with coremltools", "Failed to load _ML", "Tuple detected")
    return not any(words in record.getMessage() for words in known)


logging.getLogger("coremltools").addFilter(_is_news)

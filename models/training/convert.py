"""Saved model to .tflite, as a program of its own: the converter can crash the process.

python -m models.training.convert SAVED_MODEL SAMPLES.npz OUT.tflite int8|float32
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def convert(saved: Path, samples: Path, out: Path, dtype: str) -> None:
    """Convert; int8 means weights, activations, inputs and outputs."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if dtype == "int8":
        with np.load(samples) as file:
            sequences, flats = file["sequence"], file["flat"]

        def representative() -> Iterator[dict[str, Any]]:
            for sequence, flat in zip(sequences, flats, strict=True):
                yield {"sequence": sequence[None], "flat": flat[None]}

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    out.write_bytes(converter.convert())


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])

"""An exported model behind the same forward as the module it was made from: ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from registry.run_directory import read_json

MODEL_FILE, DESCRIPTION_FILE = "model.onnx", "export.json"


class OnnxModel(nn.Module):
    """Takes a batch's inputs by name and returns the outputs by name; it has no parameters to train."""

    def __init__(self, path: Path, outputs: list[str], threads: int | None = None) -> None:
        super().__init__()
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads or torch.get_num_threads()
        settings.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs()]
        self.outputs = outputs

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """The outputs of a batch; inputs that the exported graph does not read are left out."""
        given: dict[str, np.ndarray] = {name: inputs[name].cpu().numpy() for name in self.names}
        found: list[Any] = self.session.run(None, given)
        return {name: torch.from_numpy(values) for name, values in zip(self.outputs, found, strict=True)}


def load_onnx(directory: Path) -> OnnxModel:
    """The model that scripts/export.py left in `directory`.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    path = directory / MODEL_FILE
    if not path.is_file():
        raise ValueError(f"{directory}: holds no {MODEL_FILE}; make one with scripts/export.py {directory}")
    description = read_json(directory / DESCRIPTION_FILE)
    try:
        return OnnxModel(path, list(description["outputs"]))
    except Exception as error:  # ONNX Runtime has no base class of its own for damaged files
        raise ValueError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:200]})") from error

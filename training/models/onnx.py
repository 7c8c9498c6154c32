"""Torch modules to ONNX files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch

OPSET = 18  # understood by ONNX Runtime ≥ 1.14, so by every current Triton container


def export(
    module: torch.nn.Module,
    path: Path,
    example: Mapping[str, torch.Tensor],
    output: str,
    dynamic: Mapping[str, Sequence[str | None]],
) -> None:
    """Write `module` as one self-contained ONNX file; `dynamic` names each input's variable dimensions."""
    shapes = {
        name: {i: torch.export.Dim(dim, min=1) for i, dim in enumerate(dims) if dim} for name, dims in dynamic.items()
    }
    program = torch.onnx.export(
        module.eval(),
        tuple(example.values()),
        input_names=list(example),
        output_names=[output],
        dynamic_shapes=tuple(shapes.values()),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))

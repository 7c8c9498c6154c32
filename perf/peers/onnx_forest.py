"""A Treelite forest as one ONNX TreeEnsembleRegressor node with a sigmoid behind it.

Operator: ai.onnx.ml, TreeEnsembleRegressor 3. It compares float32 with float32, so a double threshold t of `x <= t` is
rounded down, as for the served engine.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import treelite
from onnx import helper

from deploy.triton.backends.fil.forest import floor32
from model_repository.contract import OBJECTIVES, RANKER

LEAF = -1
Lists = dict[str, list[Any]]


def onnx_forest(checkpoint: Path) -> ort.InferenceSession:
    """The forest of a checkpoint on one thread: `x` [n, features] → `scores` [n, objectives]."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = _graph(treelite.Model.deserialize(checkpoint))
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _graph(model: treelite.Model) -> onnx.ModelProto:
    real = onnx.TensorProto.FLOAT
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["raw"], domain="ai.onnx.ml", n_targets=len(OBJECTIVES),
        aggregate_function="SUM", post_transform="NONE", **_attributes(model),
    )  # fmt: skip
    graph = helper.make_graph(
        [trees, helper.make_node("Sigmoid", ["raw"], ["scores"])],
        RANKER.name,
        [helper.make_tensor_value_info("x", real, ["n", int(model.num_feature)])],
        [helper.make_tensor_value_info("scores", real, ["n", len(OBJECTIVES)])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _attributes(model: treelite.Model) -> Lists:
    classes = np.asarray(model.get_header_accessor().get_field("class_id"))
    result: Lists = {}
    for number in range(model.num_tree):
        for name, values in _tree(model.get_tree_accessor(number), number, int(classes[number])).items():
            result.setdefault(name, []).extend(values)
    return result


def _tree(tree: Any, number: int, target: int) -> Lists:
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    nodes, leaves = np.arange(len(left)), np.flatnonzero(left == LEAF)
    return {
        "nodes_treeids": [number] * len(nodes),
        "nodes_nodeids": nodes.tolist(),
        "nodes_modes": ["LEAF" if child == LEAF else "BRANCH_LEQ" for child in left],
        "nodes_featureids": np.maximum(tree.get_field("split_index"), 0).tolist(),
        "nodes_values": floor32(tree.get_field("threshold")).tolist(),
        "nodes_truenodeids": np.maximum(left, 0).tolist(),
        "nodes_falsenodeids": np.maximum(right, 0).tolist(),
        "nodes_missing_value_tracks_true": tree.get_field("default_left").astype(np.int64).tolist(),
        "target_treeids": [number] * len(leaves),
        "target_nodeids": leaves.tolist(),
        "target_ids": [target] * len(leaves),
        "target_weights": tree.get_field("leaf_value")[leaves].astype(np.float32).tolist(),
    }

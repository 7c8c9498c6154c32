"""The tensor contract: every model's tensors by name, dtype and shape, in one table.

The exporter generates config.pbtxt from it, the orchestrator builds requests from it, the tests compare both.
Shapes are Triton's: without the batch dimension when `max_batch` > 0, whole when it is 0.
"""

from dataclasses import dataclass, replace
from typing import Literal

from feature_repo.schema import CONTENT_WIDTH, CONTEXT_WIDTH, HISTORY, ITEM_WIDTH, RANKER_WIDTH, USER_WIDTH

Dtype = Literal["FP32", "INT64", "INT32", "UINT8"]
Backend = Literal["onnxruntime", "fil", "faiss", "treeshap", "ensemble"]
Profile = Literal["cpu", "gpu"]

CANDIDATES = 500
EXPLAINED = 10  # ranker rows that one call explains
EMBEDDING_WIDTH = 128
OBJECTIVES = ("relevance", "ctr", "cvr")
# What the rules need of each candidate; `in_*` and `is_safe` are 0 or 1, `category` an index into the generation's own
# list, `age_days` counted at the generation's as_of.
RULE_COLUMNS = ("price", "category", "age_days", "in_stock", "is_safe", "in_region")
PROFILES: tuple[Profile, ...] = ("cpu", "gpu")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor; −1 is a dimension that differs between generations or requests."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How one profile runs a model: instance kind and count, batching window in µs, largest batch."""

    count: int = 1
    max_batch: int = 0
    window_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One served model. `versioned_by` says whether its version is a line or a release.

    One that is not `warmed` loads its artifact at its first call; one that is `on_cpu` has no GPU instance anywhere.
    """

    name: str
    backend: Backend
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    artifact: str
    versioned_by: Literal["line", "release"] = "line"
    cpu: Placement = Placement()
    gpu: Placement = Placement()
    parameters: tuple[tuple[str, str], ...] = ()
    warmed: bool = True
    on_cpu: bool = False

    def placement(self, profile: Profile) -> Placement:
        """The profile's placement."""
        return self.cpu if profile == "cpu" else self.gpu


USER_FEATURES = Tensor("user_features", "FP32", (USER_WIDTH,))
USER_HISTORY = Tensor("user_history", "INT64", (HISTORY,))
USER_EMBEDDING = Tensor("user_embedding", "FP32", (EMBEDDING_WIDTH,))
COUNTRY = Tensor("country", "INT32", (1,))
CONTEXT_FEATURES = Tensor("context_features", "FP32", (CONTEXT_WIDTH,))
ITEM_KEY = Tensor("item_key", "INT64", (CANDIDATES,))
ITEM_ID = Tensor("item_id", "UINT8", (CANDIDATES, -1))
SIMILARITY = Tensor("similarity", "FP32", (CANDIDATES,))
ITEM_FEATURES = Tensor("item_features", "FP32", (CANDIDATES, ITEM_WIDTH))
RULES = Tensor("rules", "FP32", (CANDIDATES, len(RULE_COLUMNS)))
COUNT = Tensor("count", "INT32", (1,))
RANKER_FEATURES = Tensor("ranker_features", "FP32", (CANDIDATES, RANKER_WIDTH))
SCORES = Tensor("scores", "FP32", (CANDIDATES, len(OBJECTIVES)))


def whole(tensor: Tensor, rows: int = 1) -> Tensor:
    """The tensor with an explicit batch, of one as an unbatched model sees it."""
    return replace(tensor, shape=(rows, *tensor.shape))


USER_TOWER = Model(
    name="user_tower",
    backend="onnxruntime",
    artifact="model.onnx",
    inputs=(USER_FEATURES,),
    outputs=(USER_EMBEDDING,),
    cpu=Placement(max_batch=64, window_us=0),
    gpu=Placement(max_batch=512, window_us=500),
    parameters=(("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")),
)
ITEM_TOWER = Model(
    name="item_tower",
    backend="onnxruntime",
    artifact="model.onnx",
    inputs=(Tensor("item_features", "FP32", (ITEM_WIDTH,)), Tensor("item_content", "FP32", (CONTENT_WIDTH,))),
    outputs=(Tensor("item_embedding", "FP32", (EMBEDDING_WIDTH,)),),
    cpu=Placement(max_batch=256, window_us=0),
    gpu=Placement(max_batch=4096, window_us=500),
    parameters=(("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")),
)
CANDIDATE_SEARCH = Model(
    name="candidates",
    backend="faiss",
    artifact="index.faiss",
    versioned_by="release",
    inputs=(USER_EMBEDDING, COUNTRY),
    outputs=(ITEM_KEY, ITEM_ID, SIMILARITY, ITEM_FEATURES, RULES, COUNT),
    cpu=Placement(max_batch=16, window_us=0),
    gpu=Placement(max_batch=256, window_us=500),
)
ASSEMBLE = Model(
    name="assemble",
    backend="onnxruntime",
    artifact="model.onnx",
    inputs=(
        whole(USER_FEATURES),
        whole(USER_HISTORY),
        whole(CONTEXT_FEATURES),
        whole(ITEM_KEY),
        whole(SIMILARITY),
        whole(ITEM_FEATURES),
    ),
    outputs=(RANKER_FEATURES,),
    gpu=Placement(count=2),
    parameters=(("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")),
)
RANKER = Model(
    name="ranker",
    backend="fil",
    artifact="checkpoint.tl",
    inputs=(Tensor("input__0", "FP32", (RANKER_WIDTH,)),),
    outputs=(Tensor("output__0", "FP32", (len(OBJECTIVES),)),),
    cpu=Placement(max_batch=8192),
    gpu=Placement(max_batch=32768, window_us=500),
    # FIL since 25.09 requires `is_classifier`; "true" would answer an arg-max instead of three scores.
    parameters=(("model_type", "treelite_checkpoint"), ("is_classifier", "false"), ("cpu_nthread", "1")),
)
RECOMMEND = Model(
    name="recommend",
    backend="ensemble",
    artifact="",
    versioned_by="release",
    inputs=(whole(USER_FEATURES), whole(USER_HISTORY), whole(USER_EMBEDDING), whole(COUNTRY), whole(CONTEXT_FEATURES)),
    outputs=(whole(ITEM_KEY), whole(ITEM_ID), whole(SIMILARITY), SCORES, whole(RULES), whole(COUNT)),
)
# Beside a request's path: what every feature of a row adds to the log-odds of each of its scores, the bias last.
EXPLAIN = Model(
    name="explain",
    backend="treeshap",
    artifact="forest.txt",
    inputs=(replace(RANKER_FEATURES, shape=(EXPLAINED, RANKER_WIDTH)),),
    outputs=(Tensor("contributions", "FP32", (EXPLAINED, len(OBJECTIVES), RANKER_WIDTH + 1)),),
    warmed=False,
    on_cpu=True,
)
MODELS = (USER_TOWER, ITEM_TOWER, CANDIDATE_SEARCH, ASSEMBLE, RANKER)  # every release has them
COMPONENTS = (*MODELS, EXPLAIN)  # and one of an earlier revision lacks the others
BY_NAME = {model.name: model for model in (*COMPONENTS, RECOMMEND)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the ensemble: model, then {its tensor: the ensemble's tensor}."""

    model: Model
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def _same(tensors: tuple[Tensor, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((tensor.name, tensor.name) for tensor in tensors)


STEPS = (
    Step(model=CANDIDATE_SEARCH, inputs=_same(CANDIDATE_SEARCH.inputs), outputs=_same(CANDIDATE_SEARCH.outputs)),
    Step(model=ASSEMBLE, inputs=_same(ASSEMBLE.inputs), outputs=_same(ASSEMBLE.outputs)),
    Step(
        model=RANKER,
        inputs=((RANKER.inputs[0].name, RANKER_FEATURES.name),),
        outputs=((RANKER.outputs[0].name, SCORES.name),),
    ),
)


def sized(tensors: tuple[Tensor, ...], candidates: int) -> tuple[Tensor, ...]:
    """The tensors of a path that ranks `candidates` items instead of the contract's own number of them."""
    return tuple(replace(t, shape=tuple(candidates if d == CANDIDATES else d for d in t.shape)) for t in tensors)


def recommend_name(release: int) -> str:
    """Name of a release's ensemble."""
    return f"{RECOMMEND.name}_{release}"

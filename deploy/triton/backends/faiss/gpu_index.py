"""A generation's index on a GPU.

What GPU FAISS (1.14) does not do, read in its sources: more than 2048 neighbours or probes (GpuIndex.h,
getMaxKSelection), graphs as coarse quantizers, and half precision of an IVF through its cloner (GpuCloner.cpp uses
`useFloat16` for flat indexes only). So a graph quantizer becomes a flat one over the same centroids, and the lists'
vectors are halved before the copy.

Every version of a model is a process of its own, so a swap holds two indexes and two scratch areas on the GPU.
FAISS's resources serve one thread at a time, which is what Triton's stub gives an instance.
"""

from functools import cache
from typing import Any

import faiss
import numpy as np

MOST = 2048  # neighbours and probes
STORAGE = ("float16", "float32")


class GpuIndexError(ValueError):
    """The index or this environment has no GPU form; the message says what to change."""


def to_gpu(index: faiss.Index, device: int, storage: str, scratch_mib: int) -> faiss.Index:
    """Copy the index to CUDA device `device`. `storage` is of vectors stored whole; codes stay what they are."""
    prepared = prepare(index, storage)
    if not hasattr(faiss, "StandardGpuResources"):
        raise GpuIndexError("KIND_GPU asks for GPU FAISS; install faiss-gpu-cu12 in Triton's environment")
    if device >= faiss.get_num_gpus():
        raise GpuIndexError(f"KIND_GPU asks for GPU {device}; FAISS sees {faiss.get_num_gpus()}; check the driver")
    options = faiss.GpuClonerOptions()
    options.useFloat16 = storage == "float16"
    options.indicesOptions = faiss.INDICES_32_BIT  # row numbers stay below 2³¹
    try:
        return faiss.index_cpu_to_gpu(_resources(scratch_mib), device, prepared, options)
    except RuntimeError as error:  # a kind of index it does not know, or no memory
        raise GpuIndexError(f"FAISS does not copy {type(index).__name__} to GPU {device}: {error}") from None


def prepare(index: faiss.Index, storage: str) -> faiss.Index:
    """The index in a form that GPU FAISS copies, still on the host. Raises GpuIndexError."""
    if storage not in STORAGE:
        raise GpuIndexError(f"parameter gpu_storage is {storage!r}, expected one of {STORAGE}")
    if isinstance(index, faiss.IndexHNSW):
        raise GpuIndexError("an HNSW index has no GPU form; publish with TRIDENT_INDEX=ivf or flat")
    if not isinstance(index, faiss.IndexIVF):
        return index
    if index.nprobe > MOST:
        raise GpuIndexError(f"the index wants {index.nprobe} probes, a GPU gives {MOST}; publish with fewer lists")
    _flatten_quantizer(index)
    return _halved(index) if isinstance(index, faiss.IndexIVFFlat) and storage == "float16" else index


@cache
def _resources(scratch_mib: int) -> Any:
    """Streams and scratch memory, one for the process."""
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(scratch_mib << 20)
    return resources


def _flatten_quantizer(index: faiss.IndexIVF) -> None:
    """Replace a graph over the centroids by the centroids; the index owns what it holds, before and after."""
    old = faiss.downcast_index(index.quantizer)
    if isinstance(old, faiss.IndexFlat):
        return
    flat = faiss.IndexFlat(index.d, index.metric_type)
    flat.add(old.reconstruct_n(0, old.ntotal))
    index.quantizer = flat
    flat.this.disown()
    old.this.own(index.own_fields)
    index.own_fields = True


def _halved(index: faiss.IndexIVFFlat) -> faiss.IndexIVFScalarQuantizer:
    """The same lists in half precision; takes the quantizer over."""
    codec = faiss.ScalarQuantizer.QT_fp16
    half = faiss.IndexIVFScalarQuantizer(index.quantizer, index.d, index.nlist, codec, index.metric_type, False)
    half.nprobe, half.is_trained = index.nprobe, True
    for number in range(index.nlist):
        if size := index.invlists.list_size(number):
            codes = faiss.rev_swig_ptr(index.invlists.get_codes(number), size * index.code_size).view(np.float32)
            rows = faiss.rev_swig_ptr(index.invlists.get_ids(number), size)
            halves = codes.astype(np.float16).view(np.uint8)
            half.invlists.add_entries(number, size, faiss.swig_ptr(rows), faiss.swig_ptr(halves))
    half.ntotal, half.own_fields, index.own_fields = index.ntotal, index.own_fields, False
    return half

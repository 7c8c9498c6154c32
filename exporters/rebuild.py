"""A release's next generation: a new catalogue in front of the same models, which are linked, not exported again."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deploy.settings import Settings
from exporters.build import add_generation, build_next, index_choices, some_users
from exporters.files import link_or_copy
from exporters.generation import Report, Source
from exporters.manifest import Manifest, file_entries
from exporters.overlay import overlay_position
from feature_repo.store import items_as_of
from model_repository.contract import CANDIDATE_SEARCH
from training.dataset import Dataset
from training.lines import Line
from training.machine import git_revision


def rebuild(settings: Settings, before: Manifest, line: Line, catalogue: Source, report: Report) -> Path:
    """Build the next release: `catalogue`, and the models of the release `before`. Raises ExportError.

    The number of candidates stays as it is, whatever the settings say, because the ranking steps' shapes hold it.
    """
    same = settings.model_copy(update={"candidates": before.index.candidates})
    return build_next(settings, lambda number, draft: _fill(same, before, line, number, draft, catalogue, report))


def _fill(
    settings: Settings, before: Manifest, line: Line, number: int, draft: Path, catalogue: Source, report: Report
) -> Manifest:
    kept = {name: slot for name, slot in before.slots.items() if name != CANDIDATE_SEARCH.name}
    for name in kept:
        folder = settings.releases / str(before.release) / name
        shutil.copytree(folder, draft / name, copy_function=link_or_copy)
    choices = replace(index_choices(settings), previous=before.index)
    facts = add_generation(draft, catalogue, some_users(Dataset(settings.features), line), choices, line, report)
    files = file_entries(draft / CANDIDATE_SEARCH.name)
    searched = before.slots[CANDIDATE_SEARCH.name].model_copy(update={"version": number, "files": files})
    return before.model_copy(
        update={
            "release": number,
            "index": facts,
            "slots": kept | {CANDIDATE_SEARCH.name: searched},
            "as_of": items_as_of(settings).isoformat(),
            "parent": before.release,
            "overlay_position": overlay_position(settings, report),
            "git_revision": git_revision(),
            "created_at": datetime.now(UTC),
        }
    )

"""What Triton calls the models of a new release. A name keeps its contract, because Triton's config is per model, not
per version: `slot` belongs to the first contract that was published under it, a changed one is `slot_<hash>`, and both
serve side by side.
"""

from pathlib import Path

from deploy.settings import Settings
from model_repository.contract import COMPONENTS, Model, Profile
from model_repository.render import contract_hash, model_config, parse

CONFIG = "config.pbtxt"


def model_names(settings: Settings) -> dict[str, str]:
    """Model name by slot, for a release that is built now."""
    repository, profile, candidates = settings.runtime_repository, settings.profile, settings.candidates
    return {model.name: model_name(repository, model, profile, candidates) for model in COMPONENTS}


def model_name(repository: Path, model: Model, profile: Profile, candidates: int) -> str:
    """The slot's name, unless another contract holds it in this repository."""
    contract = contract_hash(model_config(model, profile, candidates))
    held = repository / model.name / CONFIG
    if not held.is_file() or contract_hash(parse(held.read_text())) == contract:
        return model.name
    return f"{model.name}_{contract}"

"""MLflow's model registry: policies as versions of one registered model, and the aliases that point at them."""

from larpo_lib.registry.mlmodel import VersionFacts
from larpo_lib.registry.storing import MODEL_ID, has_own_card
from larpo_lib.registry.versions import CHALLENGER, CHAMPION, DIGEST, REPLACED, Registry

__all__ = ["CHALLENGER", "CHAMPION", "DIGEST", "MODEL_ID", "REPLACED", "Registry", "VersionFacts", "has_own_card"]

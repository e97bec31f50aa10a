"""What a reward is of: as the settings of its reranker say before a run, and as a manifest says after it."""

from pathlib import Path

import pytest
from every_setting import every

from larpo_lib import provenance
from larpo_lib.artifacts import produce
from larpo_lib.config import RerankConfig
from larpo_lib.config.kinds import RerankerConfig
from larpo_lib.rewards.rerankers import scored_text
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

WHOLE, REPLY = "<think>3 + 4</think>\n\nseven", "seven"
STATED = {one.type: one for one in every(RerankerConfig)}
"""An example of each type."""
STRIP, KEEP = (VerifierConfig(), ClassifierConfig(path="m")), (ClassifierConfig(path="m", thinking="keep"),) * 2
CASES = [
    *((one, REPLY) for one in STATED.values()),
    *(
        (one.model_copy(update={"thinking": thinking}), expected)
        for one in STATED.values()
        if hasattr(one, "thinking")
        for thinking, expected in (("strip", REPLY), ("keep", WHOLE))
    ),
    *(
        (EnsembleConfig(members=tuple(EnsembleMember(reranker=one) for one in members)), expected)
        for members, expected in (
            (STRIP, REPLY),
            (KEEP, WHOLE),
            ((STRIP[0], KEEP[0]), WHOLE),
            ((KEEP[0], STRIP[1]), WHOLE),
        )
    ),
]


def test_no_type_is_left_out() -> None:
    assert STATED.keys() == RerankerConfig.entries().keys()


@pytest.mark.parametrize(
    ("reranker", "expected"), CASES, ids=lambda one: one[-9:] if isinstance(one, str) else one.type
)
def test_settings_and_the_manifest_of_what_they_made_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reranker: RerankerConfig, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").write_text("def brevity(responses):\n    return [0.0 for _ in responses]\n", "utf-8")
    config = RerankConfig(reranker=reranker)
    produce("rerank", config, {}, tmp_path / "ranked", lambda _: {})
    found = [scored(WHOLE) for scored in (scored_text(reranker), provenance.scored_text(tmp_path / "ranked"))]
    assert found == [expected] * 2

"""Reference log-probabilities: scored once, before the first step, and kept with what they belong to.

The reference is the policy itself before it is trained, so no second model is ever held.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import ArtifactError, ModelError
from larpo_lib.files import is_sealed, seal
from larpo_lib.heartbeat import mark
from larpo_lib.models.layout import Layout
from larpo_lib.models.packing import PackedList
from larpo_lib.progress import progress, tell
from larpo_lib.training.collator import TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.plan import rank_micro_batches
from larpo_lib.training.ranks import Ranks

REFERENCE = "reference.logps"
"""In the format of safetensors, but not named so: vLLM and others load every file of that name as weights."""
OWN, MISMATCHED = "own", "mismatched"
"""Names of the log-probabilities: of the lists' own responses, and of other lists' behind their prompts (KTO)."""

_BELONGS_TO = "belongs_to"
_LEAVE_OUT = "Omit it; they are then computed again"


Logps = dict[str, list[float]]
"""Log-probabilities in nats, one for each response of the lists of that name, list by list."""


def logps_identity(reference: str, lists: Mapping[str, Sequence[PackedList]], precision: str) -> str:
    """What log-probabilities belong to: a reference policy's digest, the token ids, the precision of the pass."""
    hashed = hashlib.sha256(f"[{json.dumps(reference)}, {{".encode())
    for number, (name, named) in enumerate(sorted(lists.items())):
        hashed.update(f"{', ' if number else ''}{json.dumps(name)}: [".encode())
        for place, item in enumerate(named):  # the JSON of them all would take more memory than they do
            hashed.update(f"{', ' if place else ''}{json.dumps(item)}".encode())
        hashed.update(b"]")
    hashed.update(f"}}, {json.dumps(precision)}]".encode())
    return hashed.hexdigest()


def wanted_logps(lists: Sequence[EncodedList], *, needs_kl: bool, max_tokens: int) -> dict[str, list[PackedList]]:
    """What is scored under the reference, by its name: the lists, and for KTO each prompt with another list's best."""
    wanted: dict[str, list[PackedList]] = {OWN: [item.tokens for item in lists]}
    if needs_kl:
        others = _mismatched(lists, max_tokens)
        wanted[MISMATCHED] = [(item.prompt, [other]) for item, other in zip(lists, others, strict=True)]
    return wanted


def _mismatched(lists: Sequence[EncodedList], max_tokens: int) -> list[list[int]]:
    """The best response of the list before each, cut to what its prompt leaves of `max_tokens`, as TRL cuts them."""
    return [lists[i - 1].responses[0][: max_tokens - len(item.prompt)] for i, item in enumerate(lists)]


def with_logps(lists: Sequence[EncodedList], logps: Logps, max_tokens: int) -> list[TrainingList]:
    """Lists with their reference log-probabilities, as `wanted_logps` asked for them."""
    own = iter(logps[OWN])
    found = [TrainingList(item, [next(own) for _ in item.responses]) for item in lists]
    if MISMATCHED not in logps:
        return found
    return [
        replace(item, mismatched=other, mismatched_reference_logp=value)
        for item, other, value in zip(found, _mismatched(lists, max_tokens), logps[MISMATCHED], strict=True)
    ]


def check_finite_logps(logps: Logps, lists: Sequence[EncodedList], reference: str | Path) -> None:
    """Check reference log-probabilities that were just scored.

    Raises:
        ModelError: one is not finite.
    """
    prompts = {
        OWN: [item.prompt_id for item in lists for _ in item.responses],
        MISMATCHED: [item.prompt_id for item in lists],
    }
    for name, values in logps.items():
        for prompt_id, value in zip(prompts[name], values, strict=True):
            if not math.isfinite(value):
                raise ModelError(
                    f"{reference}: the reference log-probability of a response to prompt {prompt_id} is {value}",
                    remedy="Set train.model.dtype to float32, or check the weights of the reference policy",
                )


def cached_logps(
    score: Callable[[], Logps], belongs_to: str, ranks: Ranks, work: WorkDir | None, given: Path | None
) -> Logps:
    """Log-probabilities from where they are known already, or else scored; and kept in the artifact.

    Args:
        score: scores them; on all processes.
        belongs_to: their `logps_identity`.
        ranks: the processes.
        work: the step's folders; an earlier start of the step may have kept them there, perhaps in another precision.
        given: an artifact that has them; None to go without one.

    Raises:
        ArtifactError: those in `given` are stale.
    """
    known = None
    if work is not None:
        known = _kept(work.scratch / REFERENCE, belongs_to) if given is None else _read(given / REFERENCE, belongs_to)
    known = ranks.broadcast(known)
    logps = score() if known is None else known
    if work is not None:
        kept = work.scratch / REFERENCE
        if known is None or not is_sealed(kept):
            _write(kept.with_name(f".{REFERENCE}"), logps, belongs_to)
            seal(kept.with_name(f".{REFERENCE}"), kept)
        _write(work.data / REFERENCE, logps, belongs_to)
    return logps


def micro_batches(
    lists: Sequence[PackedList], layout: Layout, batches: Sequence[Sequence[int]], budget: int, ranks: Ranks
) -> list[list[int]]:
    """This process's micro-batches of the lists of each optimiser step, cut as training cuts them.

    A log-probability depends on the rows it is computed in, by the rounding of the precision: in bfloat16 that is
    tenths of a nat a response. In the same rows it is the same number.

    Args:
        lists: what is trained on.
        layout: how the training lays them out.
        batches: indices of the lists of each step, each list once.
        budget: tokens a forward pass, padding included.
        ranks: the processes.
    """

    def cost(indices: Sequence[int]) -> int:
        return layout.cost([lists[i] for i in indices])

    return [cut for batch in batches for cut in rank_micro_batches(batch, cost, ranks.world_size, budget)[ranks.rank]]


@torch.no_grad()
def reference_logps(
    model: Any, lists: Sequence[PackedList], layout: Layout, cut: Sequence[Sequence[int]], ranks: Ranks
) -> list[float]:
    """Log-probability of each response behind its prompt, in nats, list by list.

    Args:
        model: a policy with a scorer attached (`attach_scorer`), where and as it will be trained.
        lists: what to score.
        layout: how the training lays them out.
        cut: this process's micro-batches, as many as each other has (`micro_batches`); together they have every list.
        ranks: the processes; all get all of the result.
    """
    found: dict[int, list[float]] = {}
    own = sum(len(indices) for indices in cut)
    with progress("reference", own) if ranks.is_main else nullcontext() as advance:
        for indices in cut:
            rows = layout([lists[i] for i in indices or [0]])  # processes that hold the model in shards go together
            logps = model(**{name: value.to(model.device) for name, value in rows.items()}).float().cpu()
            mark()
            if indices:
                found.update(zip(indices, _per_list(logps, [lists[i] for i in indices]), strict=True))
            if advance is not None:
                advance(len(indices))
    scored = {i: values for part in ranks.gather(found) for i, values in part.items()}
    return [value for i in range(len(lists)) for value in scored[i]]


def _per_list(logps: Tensor, lists: Sequence[PackedList]) -> list[list[float]]:
    return [part.tolist() for part in logps.split([len(responses) for _, responses in lists])]


def _write(path: Path, logps: Logps, belongs_to: str) -> None:
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in logps.items()}
    save_file(tensors, path, metadata={_BELONGS_TO: belongs_to})


def _kept(path: Path, belongs_to: str) -> Logps | None:
    """Those of an earlier start of the step, which has the same policy, lists and objective; None: there are none.

    The launcher and the machine choose the precision of the passes. A log-ratio is of two passes in the same one.
    """
    if not is_sealed(path):
        return None
    try:
        return _read(path, belongs_to)
    except ArtifactError:
        tell(f"{path.name}: the reference log-probabilities are computed again, in the precision of this start")
        return None


def _read(path: Path, belongs_to: str) -> Logps:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            logps = {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}", remedy=_LEAVE_OUT) from None
    if metadata.get(_BELONGS_TO) != belongs_to:
        raise ArtifactError(
            f"{path}: the reference log-probabilities are stale: they were made with another reference policy, "
            "other lists or limits, an objective with other needs, or another precision",
            remedy=_LEAVE_OUT,
        )
    return logps

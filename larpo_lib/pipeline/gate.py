"""Before each round: whether it is run, and how far it goes.

The workflow engine begins the next item of a loop whatever became of the one before, so somebody has to look.
"""

from larpo_lib.pipeline import files
from larpo_lib.pipeline.execute import open_context
from larpo_lib.pipeline.retries import with_retries
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.progress import tell

SKIP, TRAIN, EVALUATE, PROMOTE = "skip", "train", "evaluate", "promote"
_PROMOTES = "every_iteration"


def gate(run: str, iteration: str) -> str:
    """What a round does: `skip`, `train`, also `evaluate`, also `promote`.

    Args:
        run: where the context is.
        iteration: number of the round.
    """
    context, number = open_context(run), int(iteration)
    name = f"gate-{number}"
    with context.journal.step(name):
        return with_retries(lambda: _decide(context, number, name))


def _decide(context: RunContext, iteration: int, own: str) -> str:
    plan, loop = context.plan, context.config.loop
    measured = files.measured({i: plan.at(i, "evaluation") for i in range(iteration)})
    last = plan.last(measured)
    if iteration > last:
        early = "" if last == loop.iterations else f": the loop stopped early by {loop.early_stop}"
        return _skip(iteration, f"iteration {last} was the last one{early}")
    troubles = [str(trouble) for trouble in context.journal.unfinished() if trouble.step != own]
    if troubles:
        return _skip(iteration, "; ".join(troubles))
    missing = sorted(_steps(context, iteration - 1) - context.journal.done())
    if missing:
        return _skip(iteration, f"the previous iteration did not finish: no {', no '.join(missing)}")
    if not plan.measures(iteration, loop.iterations):
        return TRAIN
    return PROMOTE if loop.promote == _PROMOTES else EVALUATE


def _skip(iteration: int, why: str) -> str:
    tell(f"iteration {iteration} is skipped: {why}")
    return SKIP


def _steps(context: RunContext, iteration: int) -> set[str]:
    """What must be done of a round before the next one begins; of the time before the first, Kubeflow sees to it."""
    if iteration == 0:
        return set()
    loop = context.config.loop
    measured = context.plan.measures(iteration, loop.iterations)
    steps = {"train": True, "evaluate": measured, "promote": measured and loop.promote == _PROMOTES}
    taken = [call.name for call in context.plan.benchmarks(iteration)] if measured else []
    return {f"{name}-{iteration}" for name in (*(name for name, due in steps.items() if due), *taken)}

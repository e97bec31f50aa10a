"""What each step is, written once: its command, function, settings, and what it reads and makes.

The command line, the plan of a run, and the components of Kubeflow are made from these declarations. Nothing heavy is
imported: a step's function, and with it what the step needs, is loaded when it is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from larpo_lib.steps.help import EVALUATE, PREPARE

if TYPE_CHECKING:
    from larpo_lib.artifacts import Metrics
    from larpo_lib.config import Section
    from larpo_lib.shards import Shard

Arity = Literal["one", "optional", "many", "any"]
"""How many artifacts an input is: exactly one, one or none, at least one, any number."""

_READ = {"one": "Artifact to read: a directory or s3:// URI.", "optional": "Artifact to read (optional)."}
_MODEL = {
    "one": "Model to read: a directory, an s3:// URI, or org/name[@revision] on the hub.",
    "optional": "Model to read (optional).",
}


@dataclass(frozen=True)
class Input:
    """An artifact, or several, that a step reads.

    Attributes:
        name: of the function's argument, and of the command's option.
        arity: how many it may be.
        help: what the option means; "": the same as for every other artifact.
        model: whether it is a model, which may be given by its name on the hub.
    """

    name: str
    arity: Arity = "one"
    help: str = ""
    model: bool = False

    @property
    def required(self) -> bool:
        """Whether the step cannot do without."""
        return self.arity in ("one", "many")

    @property
    def several(self) -> bool:
        """Whether the function takes a list."""
        return self.arity in ("many", "any")

    @property
    def meaning(self) -> str:
        """What the option means."""
        return self.help or (_MODEL if self.model else _READ)[self.arity]


POLICY = Input("policy", model=True)


@dataclass(frozen=True)
class Output:
    """An artifact that a step publishes.

    Attributes:
        name: of the function's argument, and of the command's option.
        optional: whether it may be left out.
    """

    name: str
    optional: bool = False


@dataclass(frozen=True)
class Option:
    """A further option of a step's command.

    Attributes:
        name: of the function's argument.
        type: of what the command line gives.
        help: what it means.
        default: where it is not given.
        least: the smallest number allowed.
        read: makes the function's argument from what the command line gives.
        setting: the option is no argument, but short for this setting of the step's section.
    """

    name: str
    type: Any
    help: str
    default: Any = None
    least: int | None = None
    read: Callable[[Any], Any] | None = None
    setting: str = ""


@dataclass(frozen=True)
class Step:
    """A step: a function from settings and artifacts to artifacts.

    Attributes:
        name: as MLflow and the journals of pipelines show it.
        function: module, below `larpo_lib.steps` if its name has no dot, a colon, the function's name.
        section: of the settings; None: it has no settings.
        inputs: what it reads.
        outputs: what it publishes; the first one is what the step is about.
        help: of its command: a sentence, then what its numbers mean.
        options: further ones of its command.
        trains: it keeps a training history, and its section has a `launch` table.
        needs_registry: its function takes the model registry.
        logs: files that MLflow is given, beside the metrics, as far as its first output has them.
        command: of the command line; "": the name, with dashes. Steps of one command are told apart by their outputs.
    """

    name: str
    function: str
    section: str | None
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    help: str = ""
    options: tuple[Option, ...] = ()
    trains: bool = False
    needs_registry: bool = False
    logs: tuple[str, ...] = ()
    command: str = ""

    def load(self) -> Callable[..., Metrics]:
        """The function, whose import imports what the step needs."""
        module, _, name = self.function.partition(":")
        found: Callable[..., Metrics] = getattr(
            importlib.import_module(module if "." in module else f"larpo_lib.steps.{module}"), name
        )
        return found

    def run(self, config: Section | None, **arguments: Any) -> Metrics:
        """Call the function.

        Args:
            config: its settings; None where it has none.
            arguments: local paths by the names of inputs and outputs, and what else it takes.
        """
        return self.load()(*(() if config is None else (config,)), **arguments)

    @property
    def command_name(self) -> str:
        """What it is called on the command line."""
        return self.command or self.name.replace("_", "-")

    @property
    def command_options(self) -> tuple[Option, ...]:
        """The further options of its command, those of the launcher included."""
        return (*self.options, *(_LAUNCHER if self.trains else ()))

    def makes(self, outputs: Sequence[str]) -> bool:
        """Whether it can be asked for exactly these outputs."""
        needed = {output.name for output in self.outputs if not output.optional}
        return needed <= set(outputs) <= {output.name for output in self.outputs}


def _shard(text: str | None) -> Shard:
    from larpo_lib.shards import UNSHARDED, Shard

    return UNSHARDED if text is None else Shard.parse(text)


_LAUNCHER = (
    Option(
        "launcher", str, "none, torchrun or deepspeed. Same as --set <section>.launch.launcher=...",
        setting="launch.launcher",
    ),
    Option(
        "nproc", int, "Number of processes on this machine. Same as --set <section>.launch.nproc=...", least=1,
        setting="launch.nproc",
    ),
)  # fmt: skip
_FURTHER = (Input("benchmarks", "any"), Input("baseline_benchmarks", "any"))
_SHARD = Option("shard", str, "i/n: process only shard i of n of the prompts, counted from 0.", read=_shard)

_ALL = (
    Step(
        "prepare", "prepare:run", "prepare", (), (Output("prompts"), Output("heldout", optional=True)), PREPARE,
    ),
    Step(
        "prepare-demonstrations", "prepare:demonstrations", "demonstrations", (), (Output("demonstrations"),),
        command="prepare",
    ),
    Step("prepare-ranked", "prepare:ranked", "prepare", (), (Output("prompts"), Output("ranked")), command="prepare"),
    Step(
        "sft", "sft:run", "sft", (POLICY, Input("demonstrations")), (Output("trained"),),
        "Fine-tune a policy on demonstrations.", trains=True,
    ),
    Step(
        "sample", "sample:run", "sample", (POLICY, Input("prompts")), (Output("candidates"),),
        "Sample candidates from the behaviour policy.",
        (
            Option(
                "iteration", int, "Number of the iteration, which determines prompts, temperature and seeds.",
                default=1, least=1,
            ),
            _SHARD,
        ),
    ),
    Step(
        "search_temperature", "search_temperature:run", "search_temperature", (POLICY, Input("prompts")),
        (Output("search"),),
        "Find a sampling temperature: try a grid on held-out prompts and choose the best by reward.",
    ),
    Step(
        "rerank", "rerank:run", "rerank",
        (
            Input("prompts"),
            Input(
                "candidates", "many",
                "Candidates, ranked or not. Candidates of several iterations are ranked as one list.",
            ),
        ),
        (Output("ranked"),), "Score and rank candidates with a reward model.", (_SHARD,),
    ),
    Step(
        "merge_shards", "merge_shards:run", None,
        (Input("shards", "many", "All shards that sample or rerank made, in any order."),), (Output("merged"),),
        "Merge the shards of sample or rerank. The data and metrics are the same as without shards.",
    ),
    Step(
        "build_lists", "build_lists:run", "lists",
        (Input("prompts"), Input("ranked", "many", "Ranked artifacts, one for each iteration, the current one last.")),
        (Output("lists"),), "Build training lists from the ranked candidates of one or more iterations.",
    ),
    Step(
        "train", "train:run", "train",
        (
            POLICY,
            Input("lists"),
            Input("reference", "optional", model=True),
            Input(
                "reference_logps", "optional",
                "Trained policy whose stored reference log-probabilities are for the same lists.",
            ),
        ),
        (Output("trained"),),
        "Train a policy on lists. The reference is the policy itself unless --reference is passed.", trains=True,
    ),
    Step(
        "reward_model", "reward_model:run", "reward_model", (POLICY, Input("lists")), (Output("trained"),),
        "Train a reward model on lists, from a policy or from another reward model.", trains=True,
        command="train-reward-model",
    ),
    Step(
        "evaluate", "evaluate:run", "evaluate", (POLICY, Input("prompts")), (Output("evaluation"),), EVALUATE,
    ),
    Step(
        "promote", "promote:run", "promote", (POLICY, Input("evaluation"), Input("baseline", "optional"), *_FURTHER),
        (Output("promotion"),), needs_registry=True, logs=("promotion.json", "gate.md", "gate.png"),
    ),
    Step(
        "report", "report:run", "report",
        (
            Input("prompts"),
            Input("evaluations", "many", "Evaluations: first of the starting policy, then one for each iteration."),
            Input("ranked", "many", "Ranked artifacts, one for each iteration."),
            Input("lists", "many", "Lists, one artifact for each iteration."),
            Input("policies", "many", "Trained policies, one for each iteration."),
            Input("promotion", "optional"),
            Input("preparations", "any", "Prompts, demonstrations and SFT artifacts, to show what was dropped."),
            Input("candidates", "any", "Candidates, one artifact for each iteration."),
            Input("benchmarks", "any", "Benchmarks' artifacts of evaluated policies, to show beside the reward."),
        ),
        (Output("report"),), "Write the HTML report of a run.", logs=("reward_hacking.json",),
    ),
)  # fmt: skip

STEPS = {step.name: step for step in _ALL}
"""The steps of a run by their names, in its order. Those of benchmarks are declared with the benchmarks."""

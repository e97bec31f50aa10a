"""Commands for rewards of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from larpo_lib.cli.app import TOOLS, Commands, Config, app, say
from larpo_lib.errors import ConfigError

if TYPE_CHECKING:
    from larpo_lib.config import RerankerConfig

rewards_app = Commands(rich_markup_mode=None, no_args_is_help=True, help="Try a reward function, or a reranker.")
app.add_typer(rewards_app, name="rewards", rich_help_panel=TOOLS)

_SHOWN = 60


@rewards_app.command(name="try")
def try_function(
    prompts: Annotated[
        Path, typer.Option(help="Artifact of prompts; without --responses a file of prompts with responses.")
    ],
    target: Annotated[
        str | None,
        typer.Option(help="my_rewards.py:brevity, s3://bucket/my_rewards.py:brevity, or package.module:brevity."),
    ] = None,
    responses: Annotated[Path | None, typer.Option(help="Artifact of candidates: responses to the prompts.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of prompts whose responses are scored.")] = 3,
    keywords: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A setting of the function, for example goal=40; with --config, of larpo."),
    ] = None,
    config: Config = None,
) -> None:
    """Show what a reward function, or with --config rerank.reranker, gives for a few responses, without a run."""
    from larpo_lib.config import PrepareConfig, load_section, parse_settings
    from larpo_lib.config.load import check
    from larpo_lib.config.prepare import ColumnsConfig
    from larpo_lib.config.toml import inline
    from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
    from larpo_lib.steps.reward_trial import try_rewards
    from larpo_lib.storage import with_code

    if (target is None) == (config is None):
        raise ConfigError("rewards try needs a function or a reranker", remedy="Pass --target, or else --config")
    reranker: RerankerConfig
    if config is not None:
        reranker = load_section("rerank", config, keywords or ()).reranker
        reading = load_section("prepare", config, [*(keywords or ()), f"prepare.source={inline(str(prompts))}"])
    else:
        reranker = check(FunctionRerankerConfig, {"target": target, "settings": parse_settings(keywords or ())})
        reading = PrepareConfig(source=str(prompts), columns=ColumnsConfig(keep="all"))
    asked = ""
    for item, score in try_rewards(with_code(reranker), prompts, responses, limit, reading):
        if item.prompt_id != asked:
            asked = item.prompt_id
            say(f"prompt {asked}: {_short(item.messages[-1]['content'])}")
        say(f"  {'none' if score is None else format(score, '.6g'):>12}  {_short(item.response)}")


def _short(text: str) -> str:
    """The text on one line, cut where it is long, with what cannot be seen escaped."""
    return json.dumps(text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ...", ensure_ascii=False)

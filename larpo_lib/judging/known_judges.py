"""Language models that judge: those of published scores and of the presets, where each can be asked, and until when."""

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

from larpo_lib.config import EndpointConfig, LlmJudgeConfig
from larpo_lib.errors import ConfigError
from larpo_lib.progress import tell

OPENAI = "OpenAI"
_HOSTS = {OPENAI: "api.openai.com"}
"""A vendor's own servers: this host, and those below it. Any other server may have a model of the same name."""
_OPENAI_SAYS = "https://developers.openai.com/api/docs/deprecations"
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class KnownJudge:
    """A language model that judges.

    Attributes:
        names: by which it is asked, the first one in scores.
        uses: whose scores it gives, as the documents say it.
        source: where the day is said, or where the weights are.
        vendor: whose servers alone have it; empty: its weights are published, for a server of one's own.
        shut_down: the day from which these servers refuse it; None: none is announced.
    """

    names: tuple[str, ...]
    uses: str
    source: str
    vendor: str = ""
    shut_down: date | None = None

    def told(self, today: date) -> str:
        """What there is to say of the day on which it is shut down."""
        when = "shut it down on" if self.is_shut_down(today) else "shuts it down on"
        return f"{self.vendor} {when} {self.shut_down} ({self.source})"

    def is_shut_down(self, today: date) -> bool:
        """Whether it can be asked no more."""
        return self.shut_down is not None and self.shut_down <= today


JUDGES = (
    KnownJudge(
        ("meta-llama/Llama-3.3-70B-Instruct",),
        "the presets of AlpacaEval 2, Arena-Hard and MixEval",
        f"{_HUB}/meta-llama/Llama-3.3-70B-Instruct",
    ),
    KnownJudge(
        ("meta-llama/Meta-Llama-3-70B-Instruct", "meta-llama/Llama-3-70b-chat-hf"),
        "table 5 of the paper, and its preset",
        f"{_HUB}/meta-llama/Meta-Llama-3-70B-Instruct",
    ),
    KnownJudge(
        ("gpt-4-1106-preview",),
        "the leaderboard of AlpacaEval 2, table 2 of the paper",
        _OPENAI_SAYS,
        OPENAI,
        date(2026, 10, 23),
    ),
    KnownJudge(
        ("gpt-3.5-turbo-0125", "gpt-3.5-turbo"), "the leaderboard of MixEval", _OPENAI_SAYS, OPENAI, date(2026, 10, 23)
    ),
    KnownJudge(
        ("gpt-4-0613", "gpt-4"), "the leaderboard of AlpacaEval 1", _OPENAI_SAYS, OPENAI, date(2026, 10, 23)
    ),
    KnownJudge(
        ("gpt-4-turbo-2024-04-09", "gpt-4-turbo"), "AlpacaEval's annotator weighted_alpaca_eval_gpt4_turbo_new",
        _OPENAI_SAYS, OPENAI, date(2026, 10, 23),
    ),
    KnownJudge(
        ("gpt-4.1-2025-04-14", "gpt-4.1"), "the leaderboard of Arena-Hard v2", _OPENAI_SAYS, OPENAI, date(2027, 1, 14)
    ),
    KnownJudge(
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"), "AlpacaEval's annotator weighted_alpaca_eval_gpt-4o-mini-2024-07-18",
        _OPENAI_SAYS, OPENAI, date(2027, 1, 14),
    ),
)  # fmt: skip


def known_judge(config: EndpointConfig) -> KnownJudge | None:
    """The judge that settings name, if it is asked where it is known to be; one of open weights is known anywhere."""
    if not isinstance(config, LlmJudgeConfig):
        return None
    host = urlsplit(config.base_url).hostname or ""
    for one in JUDGES:
        own = _HOSTS.get(one.vendor)
        if config.model in one.names and (own is None or host == own or host.endswith(f".{own}")):
            return one
    return None


def shut_down_note(config: EndpointConfig, today: date | None = None) -> str:
    """What there is to say of the day on which a judge is shut down; empty where no such day is known."""
    known = known_judge(config)
    return "" if known is None or known.shut_down is None else known.told(today or date.today())


def refuse_shut_down(config: EndpointConfig, today: date | None = None) -> None:
    """Refuse a judge that its vendor has shut down, at the vendor's own servers.

    Raises:
        ConfigError: it is.
    """
    known, today = known_judge(config), today or date.today()
    if known is not None and known.is_shut_down(today):
        raise ConfigError(
            f"the judge {known.names[0]} cannot be asked: {known.told(today)}",
            remedy="Name another judge, such as an open model on a server of your own (`vllm serve`), whose scores "
            "are not comparable with this one's; what it has decided already, `larpo score` still scores",
        )


def require_askable(config: EndpointConfig, today: date | None = None) -> None:
    """As `refuse_shut_down`, and tell the day if it is still to come.

    Raises:
        ConfigError: the judge is shut down.
    """
    refuse_shut_down(config, today)
    if note := shut_down_note(config, today):
        tell(f"the judge's scores cannot be repeated for long: {note}")

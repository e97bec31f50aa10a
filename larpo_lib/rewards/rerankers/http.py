"""A reward model behind a server as a reranker."""

from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.kinds import SingleRerankerConfig, Thinking
from larpo_lib.rewards.rerankers import Reranker


class HttpRerankerConfig(SingleRerankerConfig, EndpointConfig):
    """A reward model on a server, such as TEI or vLLM.

    Its `base_url` is the server's own, without `/v1`: http://localhost:8000.
    """

    does: ClassVar[str] = "each response on its own, on a server"
    when: ClassVar[str] = "the reward model runs on a server, such as vLLM or TEI"
    packages: ClassVar[tuple[str, ...]] = ("httpx2", "tenacity")
    execution: ClassVar[frozenset[str]] = frozenset({"texts_per_request"})

    type: Literal["http"] = "http"
    api: Literal["vllm_pooling", "vllm_score", "tei_rerank"]
    """API of the server: vLLM's /pooling for conversations, vLLM's /score or TEI's /rerank for pairs of prompt and
    response."""
    served_model: str | None = None
    """Name of the model at the server, if the server needs one. It is also recorded, so that rewards of different
    models are not mixed."""
    thinking: Thinking = "strip"
    texts_per_request: PositiveInt = 32
    """Maximum number of responses to one prompt in a request with pairs; TEI's own limit is 32."""

    @property
    def beyond_one(self) -> None:
        """What a server gives is not known."""
        return

    def identity(self) -> dict[str, Any]:
        """Without a model's name the server's address is all that tells its rewards from another's."""
        address = {} if self.served_model is not None else {"base_url": self.base_url}
        return {**super().identity(), **address}

    def make(self) -> Reranker:
        """Ask the server whether it is there."""
        from larpo_lib.rewards.rerankers.engines.http import HttpReranker

        return HttpReranker(self)

    def check(self) -> None:
        """That the server answers and serves the model."""
        from larpo_lib.rewards.rerankers.engines.http import check_scoring_server

        check_scoring_server(self, retries=0)

"""A server that doubles numbers, and what a test asks of it."""

from pydantic import BaseModel
from server_double import Reply

from larpo_lib.config import EndpointConfig
from larpo_lib.endpoint import Endpoint


class Doubled(BaseModel):
    value: int


def double(asked):
    """Twice the number asked; the first ones last."""
    number = asked.payload["number"]
    return Reply({"value": 2 * number}, after_s=0.05 if number < 2 else 0.0)


PAYLOADS = [{"number": number} for number in range(20)]


def endpoint_of(server, slept=None, answer=Doubled, path="double", **settings):
    config = EndpointConfig(
        base_url=f"{server.url}/v1", **{"concurrency": 4, "retries": 3, "timeout_s": 5.0} | settings
    )

    async def sleep(seconds):
        (slept if slept is not None else []).append(seconds)

    return Endpoint(config, path, answer, sleep=sleep)


def first_fails(reply, times=1, number=3):
    def answer(asked):
        return reply if asked.payload == {"number": number} and asked.tries <= times else double(asked)

    return answer


def numbers(server):
    return [payload["number"] for payload in server.payloads("/v1/double")]

"""A language model as the judge of responses.

Run it with `python examples/llm_judge.py http://localhost:8000/v1 MODEL`, where a server with OpenAI's API answers.
Without arguments a stand-in does, which gives a 5 to whoever says how many minutes it takes.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import larpo_lib

ANSWERS = ["Boil it for 8 minutes.", "Boil it until it is hard.", "Ask somebody who can cook."]


class StandIn(BaseHTTPRequestHandler):
    """Answers as a server with one model would, and counts the questions."""

    asked = 0

    def do_POST(self) -> None:
        """Grade a response."""
        StandIn.asked += 1
        question = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = {"role": "assistant", "content": "5" if "minutes" in question else "2"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def main(url: str, model: str) -> None:
    """Print the answers to a prompt as the judge ranks them."""
    out = Path("runs/llm_judge")
    out.mkdir(parents=True, exist_ok=True)
    row = {"prompt": "How long does an egg take to be hard?", "responses": ANSWERS, "rewards": [0, 0, 0]}
    (out / "answers.json").write_text(json.dumps([row]))
    source = {"source": out / "answers.json", "templates": []}
    judge = {"type": "llm_judge", "base_url": url, "model": model, "max_calls": 100, "decisions": out / "decisions"}
    config = larpo_lib.load_config(settings={"policy": "none", "prepare": source, "rerank": {"reranker": judge}})
    larpo_lib.prepare_ranked(config.prepare, prompts=out / "prompts", ranked=out / "given")
    for name in ("judged", "judged again"):
        ranked = larpo_lib.rerank(config.rerank, prompts=out / "prompts", candidates=out / "given", ranked=out / name)
        print(f"{name}, {StandIn.asked} questions so far")
    for _, one in ranked.table().iterrows():
        print(f"{one['rank']}. reward {one['reward']:.0f}: {one['response']}")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    Thread(target=server.serve_forever, daemon=True).start()
    main(*(sys.argv[1:] or (f"http://127.0.0.1:{server.server_port}/v1", "stand-in")))

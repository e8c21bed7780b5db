"""An OpenAI-compatible server with the latency of a busy GPU, in a process of its own, that measures its clients.

    python -m label.server FOLDER PORT PROFILE ERROR_RATE

Prompts are read one after another at the rate of the profile, their cached prefixes for nothing (vLLM's blocks of 16
tokens; prompt log-probabilities skip the cache, as there); then each token of the answer takes its time. Requests
beyond the slots wait. `GET /stats` tells what clients did since the last `POST /reset`: how long at least one request
was here, the mean number of them, calls, tokens, and how late answers left against their due time, which is this
server's fault.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from tokenizers import Tokenizer

from label.noisy_llm import NoisyLlm
from label.planted import rule_of
from label.profiles import PROFILES, Profile

BLOCK_TOKENS = 16
MODEL = "scripted"


@dataclass
class Clients:
    """What clients did since the last reset."""

    num_calls: Counter[str] = field(default_factory=Counter)
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    cached_tokens: Counter[str] = field(default_factory=Counter)
    completion_tokens: Counter[str] = field(default_factory=Counter)
    unloaded_s: float = 0.0
    """Sum of the latencies that the requests would have had alone."""
    prefill_s: float = 0.0
    busy_s: float = 0.0
    """Time with at least one request here."""
    request_s: float = 0.0
    """Sum over requests of the time that they were here."""
    lateness_s: list[float] = field(default_factory=list)
    start_cpu_s: float = field(default_factory=time.process_time)

    def as_json(self) -> dict[str, Any]:
        late = sorted(self.lateness_s) or [0.0]
        sums = {
            name: value for name, value in vars(self).items() if name not in ("lateness_s", "start_cpu_s")
        }
        return {
            **sums,
            "late_median_s": late[len(late) // 2],
            "late_p95_s": late[len(late) * 95 // 100],
            "server_cpu_s": time.process_time() - self.start_cpu_s,
        }


class Engine:
    """Latency: slots, one queue of prefill, a prefix cache."""

    def __init__(self, profile: Profile) -> None:
        self._profile, self._slots = profile, asyncio.Semaphore(profile.slots)
        self._prefill_free_s, self._blocks = 0.0, set[int]()
        self.clients, self._num_here, self._changed_s = Clients(), 0, 0.0

    def reset(self) -> None:
        self.clients, self._blocks = Clients(), set()

    def arrive(self) -> None:
        self._account()
        self._num_here += 1

    def leave(self) -> None:
        self._account()
        self._num_here -= 1

    def _account(self) -> None:
        now_s = time.monotonic()
        self.clients.busy_s += (now_s - self._changed_s) * (self._num_here > 0)
        self.clients.request_s += (now_s - self._changed_s) * self._num_here
        self._changed_s = now_s

    async def serve(self, llm: NoisyLlm, body: dict[str, Any]) -> str:
        async with self._slots:
            arrived_s = time.monotonic()
            ids = llm.prompt_ids(body)
            num_cached = 0 if "prompt_logprobs" in body else self._cached_prefix(ids)
            purpose, answer, num_completion = llm.reply(body, ids)
            prefill_s = (len(ids) - num_cached) / self._profile.prefill_tokens_per_s
            after_s = self._profile.first_token_s + (num_completion - 1) * self._profile.next_token_s
            self._prefill_free_s = max(self._prefill_free_s, arrived_s) + prefill_s
            due_s = self._prefill_free_s + after_s
            await asyncio.sleep(due_s - time.monotonic())
            self._count(purpose, len(ids), num_cached, num_completion)
            self.clients.prefill_s += prefill_s
            self.clients.unloaded_s += prefill_s + after_s
            self.clients.lateness_s.append(time.monotonic() - due_s)
            return answer

    def _count(self, purpose: str, num_prompt: int, num_cached: int, num_completion: int) -> None:
        self.clients.num_calls[purpose] += 1
        self.clients.prompt_tokens[purpose] += num_prompt
        self.clients.cached_tokens[purpose] += num_cached
        self.clients.completion_tokens[purpose] += num_completion

    def _cached_prefix(self, ids: list[int]) -> int:
        """Tokens at the start that an earlier prompt had; the last token is always computed."""
        chain, num_cached, broken = 0, 0, False
        for start in range(0, len(ids) - BLOCK_TOKENS, BLOCK_TOKENS):
            chain = hash((chain, *ids[start : start + BLOCK_TOKENS]))
            broken = broken or chain not in self._blocks
            num_cached += 0 if broken else BLOCK_TOKENS
            self._blocks.add(chain)
        return num_cached


class App:
    """The ASGI application."""

    def __init__(self, llm: NoisyLlm, engine: Engine) -> None:
        self._llm, self._engine = llm, engine

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        match scope["path"]:
            case "/stats":
                await _send(send, json.dumps(self._engine.clients.as_json()))
            case "/reset":
                self._engine.reset()
                await _send(send, "{}")
            case "/v1/models":
                model = {"id": MODEL, "object": "model", "max_model_len": 16384}
                await _send(send, json.dumps({"object": "list", "data": [model]}))
            case _ if scope["method"] != "POST":
                await _send(send, "{}", status=404)
            case _:
                body = json.loads(await _body(receive))
                self._engine.arrive()
                try:
                    await _send(send, await self._engine.serve(self._llm, body))
                finally:
                    self._engine.leave()


async def _body(receive: Any) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send(send: Any, text: str, status: int = 200) -> None:
    data = text.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def main(folder: Path, port: int, profile: str, error_rate: float) -> None:
    latents = json.loads((folder / "latents.json").read_text())
    rules = {latent["feature"]: rule_of(latent["words"]) for latent in latents}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    llm = NoisyLlm(tokenizer=tokenizer, rules=rules, error_rate=error_rate)
    app = App(llm, Engine(PROFILES[profile]))
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))

"""A real model server on loopback: vLLM's OpenAI-compatible API over a folder of weights, on the CPU."""

import http.client
import json
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path

from thresher.contracts.errors import SpecError
from thresher.runtime.cpu_features import fast_dtype
from thresher.runtime.local.processes import (
    LOOPBACK,
    LocalProcess,
    LocalProcessError,
    answers_http,
    free_port,
    start_process,
    wait_until_healthy,
)

MAX_MODEL_LEN = 2048  # tokens of a prompt and its answer
MAX_NUM_BATCHED_TOKENS = 8192  # tokens a step of the engine: many short prompts are scored at once
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class LLMServer:
    """A running server."""

    served_name: str
    """What clients give as `model`."""
    port: int
    api_key: str = field(repr=False)
    process: LocalProcess

    @property
    def environment(self) -> dict[str, str]:
        """What the openai client needs to reach it. Holds the key."""
        return {"OPENAI_BASE_URL": f"http://{LOOPBACK}:{self.port}/v1", "OPENAI_API_KEY": self.api_key}

    def wait_until_ready(self, timeout_s: float = 300.0) -> None:
        """Return when the server has answered a request with prompt log-probabilities, the first being slow.

        Raises:
            LocalProcessError: it ended, was not ready in time or refused the request; it is stopped.
        """
        wait_until_healthy(self.process, lambda: answers_http(self.port, "/health"), timeout_s)
        try:
            _warm_up(self, timeout_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.stop()


def start_llm_server(
    model_folder: Path, served_name: str, folder: Path, *, port: int | None = None
) -> LLMServer:
    """Serve a model, and wait until it answers."""
    server = launch_llm_server(model_folder, served_name, folder, port=port)
    server.wait_until_ready()
    return server


def launch_llm_server(
    model_folder: Path, served_name: str, folder: Path, *, port: int | None = None, detached: bool = False
) -> LLMServer:
    """Start to serve a model, without waiting.

    Args:
        model_folder: a model as transformers saves it.
        served_name: what clients give as `model`.
        folder: where the log goes.
        port: of the API; None takes a free one.
        detached: outlive this process.

    Raises:
        SpecError: there is no model in the folder, or the port is in use.
    """
    if not (model_folder / "config.json").is_file():
        raise SpecError("model", str(model_folder), mend="Give a folder that holds config.json and weights.")
    folder, port, api_key = folder.resolve(), free_port(port), secrets.token_urlsafe(30)
    process = start_process(
        f"vLLM serving {served_name}",
        _command(model_folder.resolve(), served_name, port),
        folder / "vllm.log",
        environment={"VLLM_API_KEY": api_key, **ENVIRONMENT},
        folder=folder,
        detached=detached,
    )
    return LLMServer(served_name, port, api_key, process)


def _command(model_folder: Path, served_name: str, port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model={model_folder}",
        f"--served-model-name={served_name}",
        f"--dtype={fast_dtype()}",
        f"--max-model-len={MAX_MODEL_LEN}",
        f"--max-num-batched-tokens={MAX_NUM_BATCHED_TOKENS}",
        "--enforce-eager",
        f"--host={LOOPBACK}",
        f"--port={port}",
    ]


def _warm_up(server: LLMServer, timeout_s: float) -> None:
    body = {"model": server.served_name, "prompt": "The sky is blue.", "max_tokens": 1, "prompt_logprobs": 20}
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise LocalProcessError(
            f"{server.process.name} did not answer a first request ({error}). The end of its log "
            f"{server.process.log}:\n{server.process.log_tail()}"
        ) from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise LocalProcessError(
            f"{server.process.name} refused a first request: {answer.status} {text[:500]}"
        )

"""The scripted model with planted words and planted errors, for the prompts of both sides.

It takes a label for the planted words that it names, and is wrong about a fixed share of the questions, which ones
being a function of the question alone: right labels score above wrong ones, imperfectly, so that an interval's width
means something. An explanation names those words of the most frequent latent that are marked in the texts shown.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fixtures.scripted_llm import ScriptedLlm
from label.planted import name_of

WORDS = re.compile(r"[a-z]+")
MARKED = re.compile(r"<<(.*?)>>", re.DOTALL)
EXAMPLE = re.compile(r"^Example \d+:", re.MULTILINE)
NUM_LOGPROBS = 20
CHAT_TOKENS_A_MESSAGE = 5


@dataclass
class NoisyLlm(ScriptedLlm):
    """Answers to thresher's prompts, as its parent, and to Delphi's."""

    error_rate: float = 0.15
    """Of yes-no questions."""
    level_error_rate: float = 0.03
    """Of tokens in simulation."""
    _latent_of_word: dict[str, int] = field(init=False)
    _fillers: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._latent_of_word = {word: latent for latent, rule in self.rules.items() for word in rule.words}
        self._fillers = [_entry(1000 + index, "filler", 1e-4) for index in range(NUM_LOGPROBS)]
        self.piece = lru_cache(None)(lambda token: self.tokenizer.decode([token]))
        self.encode = lru_cache(4096)(lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids)

    def explains(self, marked: Sequence[str]) -> str:
        seen = Counter(word for text in marked for word in _words(text) if word in self._latent_of_word)
        of_latent = Counter[int]()
        for word, count in seen.items():
            of_latent[self._latent_of_word[word]] += count
        if not of_latent:
            return "various words"
        latent = of_latent.most_common(1)[0][0]
        return name_of([word for word in self.rules[latent].words if word in seen])

    def applies(self, label: str, words: Sequence[str]) -> bool:
        text = " ".join(words).lower()
        truth = bool(self._named(label) & set(_words(text)))
        return truth != _is_wrong(self.error_rate, label, text)

    def level(self, label: str, word: str) -> str:
        return "8" if word.lower() in self._named(label) else "0"

    def _named(self, label: str) -> set[str]:
        return {word for word in _words(label) if word in self._latent_of_word}

    def prompt_ids(self, body: dict[str, Any]) -> list[int]:
        """The prompt as the server's model reads it."""
        if "messages" not in body:
            ids: list[int] = body["prompt"]
            return ids
        parts: list[int] = []
        for message in body["messages"]:
            parts += [0] * CHAT_TOKENS_A_MESSAGE + self.encode(message["content"])
        return parts

    def reply(self, body: dict[str, Any], ids: list[int]) -> tuple[str, str, int]:
        """What the request was for, the JSON of the answer, and its tokens."""
        if "prompt_logprobs" in body:
            text = "".join(map(self.piece, ids))
            return "simulation", self._prompt_entries(ids, text), 1
        answer = self.answer(body)
        choice = answer["choices"][0]
        spoken = choice["message"]["content"] if "messages" in body else choice["text"]
        num_completion = len(self.encode(spoken)) + ("messages" in body)
        answer["usage"] = {"prompt_tokens": len(ids), "completion_tokens": num_completion}
        return self.purpose(body), json.dumps(answer), num_completion

    def purpose(self, body: dict[str, Any]) -> str:
        if "messages" not in body:
            return (
                "fuzzing" if "marked words" in "".join(map(self.piece, body["prompt"][:40])) else "detection"
            )
        asked = body["messages"][-1]["content"]
        if "logprobs" in body:
            return "fuzzing" if "marked with" in asked else "detection"
        if asked.startswith("Latent explanation:"):
            return "fuzz" if "<<" in body["messages"][0]["content"] else "detection"
        return "simulation" if asked.startswith('{"to_find"') else "explain"

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = body["messages"][-1]["content"]
        if asked.startswith("Latent explanation:"):
            return _message(self._list_of_verdicts(asked, self.purpose(body) == "fuzz"))
        if asked.startswith('{"to_find"'):
            return _message(self._simulated_json(asked))
        if "[EXPLANATION]" in body["messages"][0]["content"]:
            return _message(f"[EXPLANATION]: {self.explains(MARKED.findall(asked))}")
        return super()._chat(body)

    def _list_of_verdicts(self, asked: str, is_fuzz: bool) -> str:
        head, _, examples = asked.partition("Text examples:")
        label = head.removeprefix("Latent explanation:").strip()
        texts = EXAMPLE.split(examples)[1:]
        verdicts = [
            self._fuzz(label, text) if is_fuzz else self.applies(label, text.split()) for text in texts
        ]
        return json.dumps([int(verdict) for verdict in verdicts])

    def _fuzz(self, label: str, text: str) -> bool:
        marked = [word for part in MARKED.findall(text) for word in _words(part)]
        truth = bool(marked) and all(word in self._named(label) for word in marked)
        return truth != _is_wrong(self.error_rate, label, text)

    def _simulated_json(self, asked: str) -> str:
        question = json.loads(asked)
        tokens = [entry["token"] for entry in question["activations"]]
        levels = [
            self._noisy_level(question["to_find"], token.strip(), "".join(tokens[:place]))
            for place, token in enumerate(tokens)
        ]
        question["activations"] = [
            {"token": token, "activation": int(level)} for token, level in zip(tokens, levels, strict=True)
        ]
        return json.dumps(question)

    def _noisy_level(self, label: str, word: str, before: str) -> str:
        wrong = _is_wrong(self.level_error_rate, label, word, before[-60:])
        return {"8": "0", "0": "8"}[self.level(label, word)] if wrong else self.level(label, word)

    def _prompt_entries(self, ids: list[int], text: str) -> str:
        """Twenty log-probabilities at every position, as vLLM gives them; those due for an answer mean something."""
        after = text.rpartition("Feature: ")[2]
        label, unread = after.partition("\n")[0].strip(), "{" + ", ".join(self._fillers) + "}"
        entries, length, first = ["null"], 0, len(text) - len(after)
        for token in ids[:-1]:
            length += len(self.piece(token))
            before = text[:length]
            if length > first and before.endswith("\t"):
                entries.append(self._digits(label, before.rpartition("\n")[2].strip(), before))
            else:
                entries.append(unread)
        head = '{"id": "x", "object": "text_completion", "model": "scripted", "choices": [{"index": 0, "text": "x", '
        usage = f'"usage": {{"prompt_tokens": {len(ids)}, "completion_tokens": 1}}}}'
        return f'{head}"finish_reason": "length", "prompt_logprobs": [{", ".join(entries)}]}}], {usage}'

    def _digits(self, label: str, word: str, before: str) -> str:
        level = self._noisy_level(label, word, before)
        digits = [
            _entry(self._digit_token(digit), digit, 0.7 if digit == level else 0.02) for digit in "0123456789"
        ]
        return "{" + ", ".join([*digits, *self._fillers[len(digits) :]]) + "}"

    def _digit_token(self, digit: str) -> int:
        return int(self.encode(digit)[0])


def _words(text: str) -> list[str]:
    return WORDS.findall(text.lower())


def _is_wrong(rate: float, *question: str) -> bool:
    digest = hashlib.sha256("\0".join(" ".join(part.split()) for part in question).encode()).digest()
    return int.from_bytes(digest[:6], "big") < rate * (1 << 48)


def _entry(token: int, text: str, probability: float) -> str:
    return f'"{token}": {{"logprob": {math.log(probability):.4f}, "rank": 1, "decoded_token": "{text}"}}'


def _message(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "model": "scripted", "choices": [choice], "usage": {}}

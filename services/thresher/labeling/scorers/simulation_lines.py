"""Prompts of a line a token: a tab, then the activation, which stands as `unknown` where it is to be predicted.

Every line is tokenised in the same pieces, so that digits follow the tab exactly as they do in the examples.
"""

import math
from collections.abc import Iterable, Mapping

from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer, PromptTokens
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.templates import load_template

TEMPLATE = load_template("simulation-v1")
UNKNOWN = "unknown"
EXAMPLE_MAX_LEVEL = 9
ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


class SimulationLines:
    """Writes the prompts for one tokenizer, and reads levels off its tokens.

    Raises:
        SpecError: the tokenizer does not give every digit a token of its own.
    """

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        self._tokenizer, self._level_tokens = tokenizer, tokenizer.level_tokens()
        self.max_level = max(self._level_tokens.values())

    def prompt(self, label: str, contexts: Iterable[Exemplar]) -> PromptTokens:
        """The examples, the label, then the texts; each `unknown` is marked."""
        prompt = self._head(label)
        for context in contexts:
            self._tokenizer.add(prompt, ["<start>", "\n"])
            for token in context.tokens:
                self._tokenizer.add(prompt, [token.translate(ESCAPES), "\t"])
                self._tokenizer.mark(prompt, UNKNOWN)
                self._tokenizer.add(prompt, ["\n"])
            self._tokenizer.add(prompt, ["<end>", "\n"])
        return prompt

    def prompt_until(self, label: str, context: Exemplar, position: int) -> PromptTokens:
        """As above, of one text, ending where the level of the token at `position` is due."""
        prompt = self._head(label)
        self._tokenizer.add(prompt, ["<start>", "\n"])
        for token in context.tokens[:position]:
            self._tokenizer.add(prompt, [token.translate(ESCAPES), "\t", UNKNOWN, "\n"])
        self._tokenizer.add(prompt, [context.tokens[position].translate(ESCAPES), "\t"])
        return prompt

    def levels(self, logprob_by_token: Mapping[int, float]) -> dict[int, float]:
        """Probability by level, of the levels among the most likely tokens."""
        return {
            level: math.exp(logprob_by_token[token])
            for token, level in self._level_tokens.items()
            if token in logprob_by_token
        }

    def levels_of_texts(self, logprob_by_text: Mapping[str, float]) -> dict[int, float]:
        """The same, from tokens as text."""
        found: dict[int, float] = {}
        for text, logprob in logprob_by_text.items():
            word = text.strip()
            if word.isascii() and word.isdecimal() and len(word) <= 2 and int(word) <= self.max_level:
                found[int(word)] = found.get(int(word), 0.0) + math.exp(logprob)
        return found

    def _head(self, label: str) -> PromptTokens:
        prompt = self._tokenizer.start()
        text = TEMPLATE.fill(max_level=str(self.max_level), label=" ".join(label.split()))
        for line in text.split("\n"):
            token, tab, level = line.partition("\t")
            known = [str(round(int(level) * self.max_level / EXAMPLE_MAX_LEVEL))] if tab else []
            self._tokenizer.add(prompt, [piece for piece in (token, tab, *known, "\n") if piece])
        return prompt

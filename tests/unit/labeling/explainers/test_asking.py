"""Bounded repair over real HTTP, and the forms that answers come in."""

import asyncio
import json

import pytest

from thresher.contracts.states import State
from thresher.labeling.budget.budget import Budget
from thresher.labeling.endpoints.chat import MAX_SHOWN_CHARACTERS
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.explainers.answer_form import AnswerForm, Structure
from thresher.labeling.explainers.asking import Asked, PhraseAsker
from thresher.labeling.explainers.spec import ActivationsSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger
from thresher.storage import open_store

QUESTION = "What have «ship» and «port» in common?"


@pytest.fixture
def ask(scripted_llm, scripted_tokenizer, tmp_path):
    """Ask one question with a given form."""

    def run(structure: Structure = "off", budget: Budget | None = None, **changes) -> Asked:
        async def once() -> Asked:
            endpoint = EndpointSpec(model="scripted", base_url=scripted_llm.base_url, max_retries=0)
            ledger = Ledger(open_store(f"file://{tmp_path}/store"), "responses/d/1", "run")
            spec = ActivationsSpec(**changes)
            async with Exchange(EndpointClient(endpoint), ledger, budget or Budget(None)) as exchange:
                form = AnswerForm(structure, spec.reasoning)
                tokenizer = PromptTokenizer(str(scripted_tokenizer))
                return await PhraseAsker(spec, form, tokenizer, exchange, seed=3).ask(QUESTION)

        return asyncio.run(once())

    return run


def test_a_repair_shows_the_answer_and_its_fault(scripted_llm, ask) -> None:
    scripted_llm.explanations.append("no JSON at all")
    asked = ask("json_schema")
    assert (asked.phrase.state, asked.phrase.text) == (State.OK, "words about the sea")
    first, second = scripted_llm.requests
    assert len(asked.answers) == 2
    assert second["messages"][:1] == first["messages"]
    assert second["messages"][1] == {"role": "assistant", "content": "no JSON at all"}
    assert "no JSON object" in second["messages"][2]["content"]
    assert second["response_format"] == first["response_format"]


@pytest.mark.parametrize("max_repairs", [0, 1, 3])
def test_repairs_are_bounded(scripted_llm, ask, max_repairs) -> None:
    scripted_llm.explanation = "..."
    asked = ask(max_repairs=max_repairs)
    assert asked.phrase.state == State.UNPARSABLE
    assert len(scripted_llm.requests) == len(asked.answers) == 1 + max_repairs


def test_a_long_answer_is_not_sent_back_whole(scripted_llm, ask) -> None:
    scripted_llm.explanations.append("x" * 50_000)
    assert ask().phrase.state == State.OK
    assert len(scripted_llm.requests[1]["messages"][1]["content"]) == MAX_SHOWN_CHARACTERS


def test_refusals_are_not_argued_with(scripted_llm, ask) -> None:
    scripted_llm.explanation = "I'm sorry, I can't help with that."
    for structure in ("off", "json_schema"):
        scripted_llm.requests.clear()
        assert ask(structure).phrase.state == State.REFUSED
        assert len(scripted_llm.requests) == 1


def test_repairs_fit_their_reservation_and_stop_at_the_budget(scripted_llm, ask) -> None:
    scripted_llm.explanation = "..."
    whole = ask(max_repairs=2)
    assert len(whole.answers) == 3
    budget = Budget(250)
    scripted_llm.explanation = ".."
    cut = ask(max_repairs=2, max_tokens=25, budget=budget)
    assert cut.phrase.state == State.OVER_BUDGET
    assert 1 <= len(cut.answers) < 3


def test_a_failing_endpoint_is_a_state(scripted_llm, ask) -> None:
    scripted_llm.always = "bad_request"
    assert ask().phrase.state == State.API_ERROR


def test_the_schema_is_sent_and_holds_the_label(scripted_llm, ask) -> None:
    ask("json_schema", reasoning=True)
    body = scripted_llm.requests[0]
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert list(schema["schema"]["properties"]) == ["reasoning", "label"]
    assert schema["schema"]["required"] == ["reasoning", "label"]
    assert schema["schema"]["additionalProperties"] is False
    assert body["max_completion_tokens"] == 24 + 24 + 256
    ask("json_object")
    assert scripted_llm.requests[-1]["response_format"] == {"type": "json_object"}
    ask("off")
    assert "response_format" not in scripted_llm.requests[-1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('{"label": "numbers"}', "numbers"),
        ('```json\n{"label": "numbers"}\n```', "numbers"),
        ('Sure! {"reasoning": "digits {}", "label": "numbers"} I hope it helps', "numbers"),
        ('<think>{"label": "words"}</think>{"label": "numbers"}', "numbers"),
        ('{"label": "numbers\\nand more"}', "numbers"),
    ],
)
def test_json_is_found(answer: str, text: str) -> None:
    assert AnswerForm("json_schema", reasoning=False).read(answer).text == text


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "numbers",
        '{"label": "numb',
        '{"label": 7}',
        '{"label": null}',
        '{"label": ["numbers"]}',
        '["label", "numbers"]',
        '{"label": ""}',
        json.dumps({"label": "x" * 201}),
        '{"label":' * 20_000 + "}" * 20_000,
        '{"label": ' + "9" * 5_000 + "}",
        '<think>{"label": "numbers"}',
    ],
)
def test_no_usable_json_says_what_is_wrong(answer: str) -> None:
    phrase = AnswerForm("json_schema", reasoning=False).read(answer)
    assert (phrase.state, phrase.text) == (State.UNPARSABLE, None)
    assert phrase.fault


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("They are digits.\nLabel: numbers", "numbers"),
        ("Label: a first thought\nNo, rather\n**Label:** numbers", "numbers"),
        ("label: numbers", "numbers"),
    ],
)
def test_the_last_label_line_counts(answer: str, text: str) -> None:
    assert AnswerForm("off", reasoning=True).read(answer).text == text


def test_thinking_without_a_label_is_none() -> None:
    phrase = AnswerForm("off", reasoning=True).read("They are digits.")
    assert phrase.state == State.UNPARSABLE
    assert "Label:" in (phrase.fault or "")

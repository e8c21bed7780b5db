"""One question about several texts: what is asked, and whose answer is whose."""

import math

import pytest

from fixtures.exemplars import RULES
from fixtures.label_runs import read_rows
from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.run import label
from thresher.labeling.scorers.detection import WORDING
from thresher.labeling.scorers.joint_question import JointQuestion
from thresher.labeling.scorers.spec import DetectionSpec
from thresher.labeling.scorers.yes_no import yes_share

ENDPOINT = EndpointSpec(model="scripted", base_url="http://127.0.0.1:9/v1")
TEXTS = ["the ship left", "a red house", "page 7"]
COUNTS = {"num_active": 4, "num_inactive": 4, "num_hard": 0, "contexts_per_prompt": 3}


@pytest.fixture
def question(scripted_tokenizer):
    def make(form: str) -> JointQuestion:
        spec = DetectionSpec(contexts_per_prompt=3, form=form)
        return JointQuestion(spec, WORDING, PromptTokenizer(str(scripted_tokenizer)), ENDPOINT, "detection")

    return make


def said(*tokens: str) -> Answer:
    """A chat's answer in which each token that is a word has a share of yes of its place in the answer."""

    def alternatives(place: int) -> list[dict]:
        share = place / 100
        return [
            {"token": " yes", "logprob": math.log(share)},
            {"token": "No", "logprob": math.log(1 - share)},
        ]

    content = [{"token": token, "top_logprobs": alternatives(place)} for place, token in enumerate(tokens, 1)]
    choice = {"message": {"content": "".join(tokens)}, "logprobs": {"content": content}}
    return Answer({"choices": [choice]}, 1, 1, None)


@pytest.mark.parametrize(
    ("tokens", "places"),
    [
        (["1", ":", " Yes", "\n", "2", ":", " No", "\n", "3", ":", " Yes"], [3, 7, 11]),
        (["Text", " 1", ":", " ", "Yes", "\n", "Text", " 2", " -", "No", "\n3. yes"], [5, 10, 11]),
        (["Here:\n\n", "**3", "**:", " NO", "\n", "1", ")", " Yes"], [8, None, 4]),
        (["1: ", "Yes", "\n1: ", "No", "\n", "4: ", "Yes"], [2, None, None]),
        (["Yes", "\nNo", "\nYes"], [None, None, None]),
        (["1: ", "Yesterday", "\n2: ", "perhaps"], [None, None, None]),
        ([], [None, None, None]),
    ],
)
def test_answers_are_read_by_their_number(question, tokens, places) -> None:
    asked = question("chat")
    found = asked.read(asked.request("ships", TEXTS), said(*tokens), len(TEXTS))
    assert [yes_share(item) for item in found] == [
        None if place is None else pytest.approx(place / 100) for place in places
    ]


def test_a_chat_is_shown_the_texts_by_number_before_the_question(question) -> None:
    [message] = question("chat").request("words {of} ships", TEXTS).body["messages"]
    assert message["content"].startswith(
        "Text 1: the ship left\nText 2: a red house\nText 3: page 7\n\nFor each"
    )
    assert (
        'these 3 texts: does it contain an example of what is described as "words {of} ships"?'
        in (message["content"])
    )


def test_a_plain_text_asks_behind_each_text(question, scripted_tokenizer) -> None:
    tokenizer = PromptTokenizer(str(scripted_tokenizer))
    request = question("completion").request("words about ships", TEXTS)
    examples = WORDING.completion.text.rpartition("Text: {context}")[0]
    ids = tokenizer.encode(examples)
    assert request.body["prompt"][: len(ids)] == ids
    mark, question_end = tokenizer.encode(" ?"), tokenizer.encode("Answer:")
    assert len(request.read_positions) == len(TEXTS)
    for position in request.read_positions:
        assert request.body["prompt"][position : position + len(mark)] == mark
        assert request.body["prompt"][position - len(question_end) : position] == question_end


def test_lines_that_are_missing_are_counted(planted_store, scripted_llm, label_spec) -> None:
    scripted_llm.num_lines_left_out = 1
    spec = label_spec(features={"selection": sorted(RULES)}, detection=COUNTS, simulation=None)
    rows = read_rows(planted_store, label(spec).scores)
    assert {row["n_unparsed"] for row in rows if row["score_type"] == "detection"} == {3}


@pytest.mark.parametrize(("form", "lacking"), [("chat", "/v1/chat/completions"), ("completion", "vLLM")])
def test_what_it_needs_is_tried_before_it_is_paid(label_spec, scripted_llm, form, lacking) -> None:
    scripted_llm.max_logprobs = 5
    with pytest.raises(SpecError, match=lacking):
        label(label_spec(detection=COUNTS | {"form": form}, simulation=None))
    assert scripted_llm.requests == []

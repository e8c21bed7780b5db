import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.contracts.errors import SpecError
from thresher.corpus.chat.template import ChatTemplate
from thresher.corpus.document import Document, Message
from thresher.corpus.spec import ChatSpec

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>\n{% endfor %}"
TRIMMING = "{% for m in messages %}<{{ m.role }}>\n{{ m.content | trim }}\n{% endfor %}(end)"
SYSTEM_FIRST = "{% if messages[0].role != 'system' %}<system>Be kind</>{% endif %}" + PLAIN


def _document(*messages):
    return Document("d", tuple(Message(role, content) for role, content in messages), "Line 7 of x.jsonl")


@pytest.fixture
def template(tmp_path, tokenizer_folder):
    def make(text, **variables):
        file = tmp_path / "template.jinja"
        file.write_text(text)
        return ChatTemplate(str(tokenizer_folder), ChatSpec(template_file=str(file), variables=variables))

    return make


def _shown(chat):
    return [(span.role, chat.text[span.start : span.stop]) for span in chat.spans]


conversations = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.text(st.characters(codec="utf-8"), max_size=12)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("text", [PLAIN, TRIMMING, SYSTEM_FIRST])
def test_spans_hold_what_messages_say_and_nothing_of_the_template(tmp_path, tokenizer_folder, text):
    file = tmp_path / "template.jinja"
    file.write_text(text)
    template = ChatTemplate(str(tokenizer_folder), ChatSpec(template_file=str(file)))

    @given(conversations)
    def check(messages):
        chat = template.render(_document(*messages))
        said = [(role, content) for role, content in messages if content.strip()]
        if text == TRIMMING:
            said = [(role, content.strip()) for role, content in said]
        assert _shown(chat) == said
        assert [span.start for span in chat.spans] == sorted(span.start for span in chat.spans)

    check()


def test_a_content_that_also_stands_in_the_template_is_found_where_it_was_said(template):
    chat = template(PLAIN).render(_document(("user", "user"), ("assistant", "</>")))
    assert chat.text == "<user>user</>\n<assistant></></>\n"
    assert [(span.start, span.stop) for span in chat.spans] == [(6, 10), (25, 28)]


def test_a_blank_message_keeps_its_place(template):
    text = "{% for m in messages %}{{ m.role }}{% if m.content %}:{{ m.content }}{% endif %};{% endfor %}"
    chat = template(text).render(_document(("system", ""), ("user", "a")))
    assert chat.text == "system;user:a;"
    assert _shown(chat) == [("user", "a")]


@pytest.mark.parametrize(
    "text",
    [
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.content.split('#')[-1] }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{{ messages[-1].content }}",
        "{{ messages[0].content }}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content | length }}{{ m.content }}{% endfor %}",
    ],
)
def test_a_template_that_rewrites_messages_is_refused(template, text):
    with pytest.raises(SpecError, match=r"Line 7 of x\.jsonl: the chat template changes"):
        template(text).render(_document(("user", "think#a"), ("assistant", "b")))


@pytest.mark.parametrize(
    "text", ["{{ raise_exception('roles must alternate') }}", "{{ messages[0].content + 1 }}", "{{ 1 / }}"]
)
def test_a_template_that_fails_names_the_conversation(template, text):
    with pytest.raises(SpecError, match=r"Line 7 of x\.jsonl: the chat template refuses"):
        template(text).render(_document(("user", "a")))


def test_the_clock_is_refused_and_a_variable_takes_its_place(template):
    text = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}" + PLAIN
    with pytest.raises(SpecError, match=r"chat\.variables.*%d %b %Y"):
        template(text).render(_document(("user", "a")))
    chat = template(text, date_string="1 Jan 2026").render(_document(("user", "a")))
    assert chat.text.startswith("1 Jan 2026<user>")


def test_the_template_comes_from_the_folder_by_either_file(tmp_path, tokenizer_folder):
    hashes = set()
    for name, content in (
        ("chat_template.jinja", PLAIN),
        ("tokenizer_config.json", json.dumps({"chat_template": PLAIN})),
        ("tokenizer_config.json", json.dumps({"chat_template": [{"name": "default", "template": PLAIN}]})),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
        (folder / name).write_text(content)
        template = ChatTemplate(str(folder), ChatSpec())
        assert template.render(_document(("user", "a"))).text == "<user>a</>\n"
        hashes.add(template.sha256)
    assert len(hashes) == 1


def test_no_template_is_answered_with_where_to_put_one(tokenizer_folder, tmp_path):
    with pytest.raises(SpecError, match=r"chat_template\.jinja.*chat\.template_file"):
        ChatTemplate(str(tokenizer_folder), ChatSpec())
    with pytest.raises(SpecError, match=r"chat\.template_file"):
        ChatTemplate(str(tokenizer_folder), ChatSpec(template_file=str(tmp_path / "gone")))

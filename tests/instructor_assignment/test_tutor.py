"""The automatic tutor, what a language model is sent, and the texts of both."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError
from tests.processes import JWT

from instructor_assignment import program_texts, tutor
from instructor_assignment.program_texts import ProgramTexts, Topic
from instructor_assignment.prompt import Teacher, Turn, masked, most_tokens, prompt
from instructor_assignment.settings import ApiSettings

TEXTS = program_texts.load(None)
ADA = Teacher(name="Ada", specialty="Clippers", program="Barbering")


@pytest.mark.parametrize(
    ("slug", "question", "expected"),
    [
        ("barber-apprenticeship", "How do I disinfect my tools?", "Sanitation and disinfection"),
        ("barber-apprenticeship", "what are the TOPICS of the curriculum", "Curriculum and topics"),
        ("hvac", "Which types does the EPA 608 exam have?", "EPA 608 certification"),
        ("cpr", "how deep are compressions", "Adult CPR"),
        ("dsp", "I saw an incident. What do I write?", "Incident reports"),
    ],
)
def test_the_best_matching_text_comes_first(slug: str, question: str, expected: str) -> None:
    assert tutor.best_topics(TEXTS[slug].topics, question)[0].title == expected
    assert tutor.answer(TEXTS[slug], question, contact="").startswith(f"{expected}\n")


@pytest.mark.parametrize("question", ["What is the capital of France?", "???", "how do i do it", "<script>"])
def test_without_a_text_it_names_whom_to_ask(question: str) -> None:
    found = tutor.answer(TEXTS["hvac"], question, contact="help@school.test")
    assert found.startswith("I found nothing about this in the texts of HVAC Technician.")
    assert "help@school.test" in found and "Refrigeration cycle" in found
    assert "Please ask the school's office." in tutor.answer(None, question, contact="")


def test_each_taught_item_of_the_catalog_with_an_instructor_has_texts() -> None:
    instructors = Path(__file__).parents[2] / "services/instructor-assignment/migrations/instructors.yaml"
    assert TEXTS.keys() == yaml.safe_load(instructors.read_text()).keys()


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("jo.doe+x@mail.example.org!", "[mail address removed]!"),
        ("call 317-555-0199 or (317) 555 0199", "call [number removed] or [number removed]"),
        ("+49 30 901820, SSN 123-45-6789", "[number removed], SSN [number removed]"),
        ("4242 4242 4242 4242", "[number removed]"),
        ("0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44", "[id removed]"),
        ("EPA 608, 400 CFM, 100 to 120 a minute, 30:2 and 1,500 hours", None),
        ("a @ b", None),
    ],
)
def test_addresses_and_numbers_are_masked(typed: str, sent: str | None) -> None:
    assert masked(typed) == (typed if sent is None else sent)


@pytest.mark.parametrize("text", ["a" * 8000, "1" * 8000, "a@" * 4000, "1 " * 4000, "a.b@c" * 1600])
def test_masking_a_hostile_text_takes_no_time(text: str) -> None:
    started = time.perf_counter()
    masked(text)
    assert time.perf_counter() - started < 0.5


def test_a_prompt_has_the_rules_the_texts_and_the_conversation() -> None:
    texts = ProgramTexts(name="Barbering", topics=(Topic(title="Fades", text="From long to short."),))
    history = [Turn(role="user", content="I am a@b.example"), Turn(role="assistant", content="Hello")]
    system, *others = prompt(ADA, texts, history, "What is a fade?")
    assert "Ada" in system.content and "Clippers" in system.content and "From long to short." in system.content
    assert [turn.content for turn in others] == ["I am [mail address removed]", "Hello", "What is a fade?"]
    assert most_tokens([system, *others]) > len(system.content)
    assert "(none)" in prompt(ADA, None, [], "What?")[0].content


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1",
        "a: {name: A, topics: [{title: T}]}",
        "a: {name: A, topics: [{title: T, text: x, more: y}]}",
        yaml.safe_dump({"a": {"name": "A", "topics": [{"title": "T", "text": "x" * 4000}] * 5}}),
    ],
)
def test_texts_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "texts.yaml").write_text(text)
    with pytest.raises(ValueError, match="CHAT_TEXTS_FILE"):
        program_texts.load(tmp_path / "texts.yaml")


def test_a_school_has_its_own_texts(tmp_path: Path) -> None:
    (tmp_path / "texts.yaml").write_text("dp: {name: Data, topics: [{title: Tables, text: Rows and columns.}]}")
    assert program_texts.load(tmp_path / "texts.yaml")["dp"].topics[0].text == "Rows and columns."


def settings(**other: object) -> ApiSettings:
    values = {
        "bursar_env": "production",
        "database_url": SecretStr("postgresql://a:kZ3o8Xq1uW5yB7nD@db/a"),
        "staff_database_url": SecretStr("postgresql://b:kZ3o8Xq1uW5yB7nD@db/a"),
        "jwt_secret": "",  # as an empty variable
        "jwt_jwks_url": "https://identity.school.example/keys",
        "jwt_issuer": JWT["JWT_ISSUER"],
        "jwt_audience": JWT["JWT_AUDIENCE"],
        "chat_api_base": "https://models.example/v1",
        "chat_api_key": "sk-kZ3o8Xq1uW5yB7nD",
        "chat_model": "m-1",
    }
    return ApiSettings.model_validate(values | other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chat_api_base", "http://models.example/v1"),
        ("chat_api_base", "https://127.0.0.1/v1"),
        ("chat_api_base", "ftp://models.example"),
        ("chat_api_key", "short"),
        ("chat_model", ""),
        ("chat_answer_seconds", 1000),
    ],
)
def test_production_refuses_what_is_not_safe(name: str, value: object) -> None:
    assert settings().chat_model == "m-1"
    with pytest.raises(ValidationError, match=f"(?i){name}"):
        settings(**{name: value})


def test_the_key_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-of-a-file-7nD\n")
    monkeypatch.setenv("CHAT_API_KEY_FILE", str(tmp_path / "key"))
    for name in ("chat_api_key", "chat_api_base"):
        monkeypatch.delenv(name.upper(), raising=False)
    named = {"DATABASE_URL": "x", "STAFF_DATABASE_URL": "x", "BURSAR_ENV": "development", "CHAT_API_BASE": ""} | JWT
    for variable, text in named.items():
        monkeypatch.setenv(variable, text)
    found = ApiSettings()
    assert found.chat_api_key is not None and found.chat_api_key.get_secret_value() == "sk-of-a-file-7nD"
    assert found.chat_api_base is None

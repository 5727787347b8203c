"""The tokens of pay links: they name an id, and nobody who has not the secret can make one."""

from __future__ import annotations

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from checkout.purchases.pay_links import id_in, token_of

SECRET = "a-secret-of-32-characters-or-more"


@given(st.uuids())
def test_a_token_names_its_id(id: UUID) -> None:
    assert id_in(token_of(id, secret=SECRET), secret=SECRET) == id


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(text: str) -> None:
    assert id_in(text, secret=SECRET) is None


@given(st.uuids(), st.integers(0, 42), st.characters(codec="ascii"))
def test_a_changed_token_is_none(id: UUID, position: int, character: str) -> None:
    token = token_of(id, secret=SECRET)
    changed = token[:position] + character + token[position + 1 :]
    assert id_in(changed, secret=SECRET) == (id if changed == token else None)


def test_another_secret_ends_a_token() -> None:
    token = token_of(uuid4(), secret=SECRET)
    assert id_in(token, secret=SECRET[::-1]) is None

"""text: words and sentences, in any language."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfembed.text import sentence_spans, split_sentences, words_of


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Smith and Prof. Jones met Mrs. Brown.",
        "A pump, e.g. Bosch's, leaks; cf. Miller.",
        "See Fig. 3 and No. 5 in Vol. 12 on p. 7.",
        "Smith vs. Jones was heard on Jan. 5 at noon.",
        "It was written by J. R. R. Tolkien.",
        "The U.S. Navy tested it.",
        "Smith et al. (2003) saw 3.5 units.",
        "It costs 3.75 units and weighs 1.2.3 or less.",
    ],
)
def test_a_short_form_an_initial_and_a_decimal_end_no_sentence(sentence: str):
    assert split_sentences(f"{sentence} Then it ended.") == [sentence, "Then it ended."]


@pytest.mark.parametrize(
    "sentence",
    ["It needs vitamin C.", "The fuse is rated 10 A.", "The answer is no.", "She has MS.", "It happened in the U.S."],
)
def test_a_sentence_may_end_like_a_short_form(sentence: str):
    assert split_sentences(f"{sentence} The next one follows.") == [sentence, "The next one follows."]


def test_items_of_a_list_are_sentences_and_keep_their_numbers():
    text = "You need:\n- a pump\n* a valve\n\u2022 a hose\n1. Turn the key. Wait.\n2. Go home"
    assert split_sentences(text) == [
        "You need:", "a pump", "a valve", "a hose", "1. Turn the key.", "Wait.", "2. Go home",
    ]  # fmt: skip


def test_a_sentence_in_chinese_or_japanese_ends_at_its_mark_with_what_closes_it():
    assert split_sentences("泵漏油。机械师更换零件！好吗？") == ["泵漏油。", "机械师更换零件！", "好吗？"]
    assert len(split_sentences("彼は「止まれ。」と言った。次の文。")) == 3
    assert split_sentences("更换零件。iPhone好。") == ["更换零件。", "iPhone好。"]


@given(st.text(max_size=300))
def test_spans_stand_in_order_and_hold_every_word(text: str):
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert [word for start, end in spans for word in words_of(text[start:end])] == words_of(text)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two there! Three where? Four.", ["One here.", "Two there!", "Three where?", "Four."]),
        ("Version 2.5 costs 3.7 units. It works.", ["Version 2.5 costs 3.7 units.", "It works."]),
        ("A paragraph\nwith a break\n\nand another one", ["A paragraph with a break", "and another one"]),
        ('He said "Stop." Then he left.', ['He said "Stop.', "Then he left."]),
        ("Öl läuft aus. Über Nacht steht es. Потом стоит.", ["Öl läuft aus.", "Über Nacht steht es.", "Потом стоит."]),
        ("", []),
        ("  \n\n ", []),
    ],
)  # fmt: skip
def test_text_is_split_at_sentence_ends_and_blank_lines(text: str, sentences: list[str]):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "Είναι έτοιμο. Έτσι είναι.",
        "To jest pompa. Łatwo przecieka.",
        "Pumpa curi. Šef je ljut.",
        "泵漏油。机械师更换零件。",
    ],
)
def test_sentences_of_other_languages_are_split_too(text: str):
    assert len(split_sentences(text)) == 2


@given(st.text(max_size=300))
def test_splitting_loses_no_word(text: str):
    words = [word for sentence in split_sentences(text) for word in words_of(sentence)]
    assert words == words_of(text)

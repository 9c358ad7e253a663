"""Texts as people have them, and the words that are read of them."""

from __future__ import annotations

import logging

import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.text import TextReader, spelt
from neucodec_tts.text.pronunciation import PRONOUNCED

READER = TextReader("en-us")


@pytest.mark.parametrize(
    ("markdown", "read"),
    [
        ("This is **bold**, *slanted*, __strong__ and ~~gone~~.", "This is bold, slanted, strong and gone."),
        ("# A title\n\nAnd text", "A title.\n\nAnd text."),
        ("A title\n=====\nAnd text.", "A title.\n\nAnd text."),
        ("- one\n- two\n* three", "one.\n\ntwo.\n\nthree."),
        ("1. First\n2. Second", "1. First.\n\n2. Second."),
        ("1984. It was a year.", "1984. It was a year."),
        ("•  one\n•\ttwo", "one.\n\ntwo."),
        ("A note[^1].\n\n[^1]: The note.", "A note.\n\nThe note."),
        ("- [ ] to do\n- [x] done", "to do.\n\ndone."),
        ("See [the page](https://example.com/a_b) now.", "See the page now."),
        ("![A cat](cat.png) sleeps.", "A cat sleeps."),
        ("Run `make test` first.", "Run make test first."),
        ("| Name | Age |\n|---|---|\n| Ann | 5 |", "Name, Age.\n\nAnn, 5."),
        ("> It is quoted.", "It is quoted."),
        ("One\n\n---\n\ntwo", "One.\n\ntwo."),
        ("<b>Fat</b> and <i class='x'>thin</i><br>here", "Fat and thin here."),
        ("<div>\n<p>In a box</p>\n</div>", "In a box."),
        ("Tom &amp; Ann &lt;3", "Tom & Ann <3."),
        ("It is **half a sentence", "It is half a sentence."),
        ("the price* of it", "the price of it."),
        ("A note.[^1]", "A note."),
        (r"\*Not slanted\*", "Not slanted."),
        ("Hi 🙂 there 👩‍💻!", "Hi there!"),
        ("Done ✅", "Done."),
        ("    indented", "indented."),
        ("a line\nof text", "a line of text."),
        # These are no Markdown, and stay.
        ("2 * 3 = 6", "2 * 3 = 6."),
        ("5 < 6 > 4", "5 < 6 > 4."),
        ("snake_case_name", "snake_case_name."),
        (r"C:\new\table", r"C:\new\table."),
    ],
)
def test_markdown_is_reduced_to_what_a_person_reads(markdown: str, read: str):
    assert READER.read(markdown).text == read
    assert READER.read(markdown).warnings == ()


def test_blocks_of_code_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        read = READER.read("So:\n\n```python\nprint(1)\nprint(2)\n```\n\nThat is it.")
    assert read.text == "So:\n\nThat is it."
    assert read.warnings == ("a block of code of 2 lines is not read",)
    assert "2 lines is not read" in caplog.text
    with pytest.raises(PromptError, match=r"nothing to read.*block of code"):
        READER.read("```\nx = 1\n```")


def test_plain_text_keeps_every_mark():
    assert READER.read("**bold** 🙂 # <b>x</b>", "plain").text == "**bold** 🙂 # <b>x</b>."
    with pytest.raises(PromptError, match="unknown text format 'html'; use one of markdown, plain, ssml"):
        READER.read("x", "html")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("One sentence without end", "One sentence without end."),
        ("no", "no."),
        ('He said "yes"', 'He said "yes".'),
        ("as follows:", "as follows:"),
        ("50 %", "50 %."),
        ("Chapter one\n\nIt was night", "Chapter one.\n\nIt was night."),
        ("你好", "你好。"),
        ("नमस्ते", "नमस्ते।"),
        ("Really?", "Really?"),
        ("Wait…", "Wait…"),
        ("(In brackets.)", "(In brackets.)"),
        ("“Quoted!”", "“Quoted!”"),
        ("¿Qué?", "¿Qué?"),
    ],
)
def test_texts_get_a_final_mark(text: str, read: str):
    assert TextReader().read(text, "plain").text == read
    assert TextReader().read(read, "plain").text == read


@pytest.mark.parametrize(
    ("text", "language", "read", "part", "script", "other"),
    [
        ("你好 world", "en-us", "world.", "你好", "Chinese", "cmn"),
        ("Hello Привет мир, friend.", "en-us", "Hello, friend.", "Привет мир", "Cyrillic", "ru"),
        ("مرحبا hello", "de", "hello.", "مرحبا", "Arabic", "ar"),
        ("Say こんにちは", "fr-fr", "Say.", "こんにちは", "Japanese", "ja"),
        ("안녕 you", "es", "you.", "안녕", "Korean", "ko"),
        ("नमस्ते you", "en-us", "you.", "नमस्ते", "Devanagari", "hi"),
        ("hello שלום", "ru", "hello.", "שלום", "Hebrew", "he"),
    ],
)
def test_parts_that_the_model_cannot_read_are_named(
    text: str, language: str, read: str, part: str, script: str, other: str
):
    found = TextReader(language).read(text)
    assert found.text == read
    assert len(found.warnings) == 1
    assert all(name in found.warnings[0] for name in (repr(part), script, repr(other), language))


@pytest.mark.parametrize("text", ["你好", "Привет", "مرحبا!"])
def test_nothing_that_the_model_can_read(text: str):
    with pytest.raises(PromptError, match=r"can read nothing of the text.*not read: it is "):
        READER.read(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Привет, world.", "ru"),
        ("你好 world。", "cmn"),
        ("π is 3.14.", "en-us"),
        ("naïve Łódź.", "en-us"),
        ("你好.", None),
    ],
)
def test_what_can_be_read_stays(text: str, language: str | None):
    found = TextReader(language).read(text)
    assert (found.text, found.warnings) == (text, ())


@pytest.mark.parametrize(
    ("ssml", "read"),
    [
        ("<speak><p>Hello there</p><p><s>One</s><s>Two!</s></p></speak>", "Hello there.\n\nOne. Two!"),
        ("<speak>Wait<break/>then go.</speak>", "Wait, then go."),
        ("Wait<break time='250ms'/>go", "Wait, go."),
        ("Wait<break time='2s'/>go", "Wait.\n\ngo."),
        ("Wait<break time='.1s'/>go", "Wait, go."),
        ("Wait<break time='1..5s'/>go", "Wait, go."),
        ("Wait<break strength='strong'/>go", "Wait.\n\ngo."),
        ("Wait<break strength='none'/>go", "Wait go."),
        ("<sub alias='World Wide Web'>WWW</sub>", "World Wide Web."),
        ("<say-as interpret-as='characters'>ABC</say-as>", "A, B, C."),
        ("<say-as interpret-as='digits'>12 3</say-as>", "1, 2, 3."),
        ("Tom &amp; Ann &lt;b&gt;", "Tom & Ann <b>."),
        ("<speak xmlns='http://www.w3.org/2001/10/synthesis' version='1.1'>Hello</speak>", "Hello."),
        ("<?xml version='1.0'?><speak>Hello<metadata>x</metadata></speak>", "Hello."),
    ],
)
def test_ssml(ssml: str, read: str):
    found = READER.read(ssml, "ssml")
    assert (found.text, found.warnings) == (read, ())


@pytest.mark.parametrize(
    ("ssml", "read", "warning"),
    [
        ("<prosody rate='slow'>Slow</prosody>", "Slow.", "<prosody> is not followed; its text is read"),
        ("<say-as interpret-as='date'>May 1</say-as>", "May 1.", "<say-as> is not followed as date"),
        ("<phoneme alphabet='x-sampa' ph='a'>word</phoneme>", "word.", "alphabet 'x-sampa'"),
        ("<voice name='x'>Hi</voice>", "Hi.", "<voice> is not followed"),
    ],
)
def test_other_ssml_is_read_with_a_warning(ssml: str, read: str, warning: str):
    found = READER.read(ssml, "ssml")
    assert found.text == read
    assert warning in found.warnings[0]


@pytest.mark.parametrize(
    ("ssml", "message"),
    [
        ("Tom & Ann", "no well-formed SSML.*&amp;"),
        ("<speak><p>Hello</speak>", "no well-formed SSML"),
        (f"{'<p>' * 2000}Hello{'</p>' * 2000}", "nests its elements 2000 deep; nest at most 100"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><speak>&a;</speak>", "declares a document type"),
        ("<speak><break/></speak>", "nothing to"),
    ],
)
def test_bad_ssml(ssml: str, message: str):
    with pytest.raises(PromptError, match=message):
        READER.read(ssml, "ssml")


def test_ssml_in_markdown_is_noticed():
    found = READER.read("<speak>Hello</speak>")
    assert found.text == "Hello."
    assert "looks like SSML" in found.warnings[0]


def test_pronunciations_come_from_ssml_only():
    asked = []

    def to_phones(text: str, language: str) -> str:
        asked.append((text, language))
        return "bɔ̃ʒˈuʁ"

    reader = TextReader("en-us", to_phones)
    found = reader.read(
        "You say <phoneme ph='təˈmɑːtoʊ!'>tomato</phoneme>, <lang xml:lang='fr'>bonjour</lang>.", "ssml"
    ).text
    assert [(match[1], match[2]) for match in PRONOUNCED.finditer(found)] == [
        ("təˈmɑːtoʊ", "tomato"),
        ("bɔ̃ʒˈuʁ", "bonjour"),
    ]
    assert spelt(found) == "You say tomato, bonjour."
    assert asked == [("bonjour", "fr")]
    # Nobody writes one by hand.
    for text_format in ("plain", "markdown", "ssml"):
        assert PRONOUNCED.search(reader.read(f"Hi {found}", text_format).text) is None


def nested(depth: int) -> str:
    """A list of one word in another, `depth` deep."""
    return "".join(f"{'  ' * level}- word\n" for level in range(depth))


@pytest.mark.parametrize(
    "text",
    [
        *(mark * 50_000 for mark in "[*_<&>#|\\(\n \t\u2028\u200b🙂"),
        *(mark * 50_000 for mark in ("> ", "- ", "1. ", "<!-- ", "<![CDATA[")),
        *(("a" + mark) * 20_000 for mark in ("[", "*", "_", "<", "&", "\u2028", "a", "$1 ")),
        *("[a](" * 9_000, "![a](" * 9_000, "**a*" * 9_000, "> a\n" * 2_000, nested(200)),
    ],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_long_rows_of_marks_are_read(text: str):
    """Their time grows with their length; with its square, these would take many minutes."""
    read = READER.read(f"{text} Begin.\n\nEnd.").text
    assert read.endswith("End.")
    assert "Begin" in read


def test_containers_of_any_depth_are_read():
    for text in ("> " * 60 + "Deep.", "- " * 60 + "Deep.", nested(60) + "\nDeep.", "> - " * 40 + "Deep."):
        assert "Deep." in READER.read(text).text
    assert READER.read(nested(60)).text.count("word") == 60


def test_piled_accents_and_rows_of_blanks():
    assert READER.read("a" + "\u0338" * 5_000 + "b").text == "a\u0338\u0338\u0338b."
    assert READER.read("e\u0323\u0302 o\u0308\u0304").text == "ệ ȫ."
    assert (
        READER.read("One" + " " * 500 + "two\r\n" + "\n" * 500 + "three", "plain").text
        == "One two.\n\nthree."
    )


def test_a_warning_is_given_once():
    read = READER.read("```\nx\n```\n\nA\n\n```\ny\n```\n\n```\n```")
    assert read.warnings == ("a block of code of 1 line is not read",)


def test_long_paragraphs_keep_their_words():
    """A paragraph of more than 4,000 characters is parsed in pieces."""
    text = "It is **bold** and [linked](https://example.com) here. " * 500
    assert READER.read(text).text == ("It is bold and linked here. " * 500).strip()

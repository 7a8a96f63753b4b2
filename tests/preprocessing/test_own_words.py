"""Of a mail remain the author's own words, wherever they stand among those of others."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.formats.own_words import own_words

WORDS = "Here is our forecast.\n\nPhillip"

QUOTATIONS = {
    "outlook": " -----Original Message-----\nFrom: Doe, John \nSent: Monday\nTo: Allen\n\nold words",
    "outlook wide": "----- Original Message ----- \nFrom: <a@b.com>\n\nold words",
    "outlook bare": "From: Doe, John\nSent: Monday, May 14, 2001\nTo: Allen\nSubject: x\n\nold words",
    "forwarded": "---------------------- Forwarded by Phillip K Allen/HOU/ECT on 05/14/2001 \n"
    "04:39 PM ---------------------------\n\nold words",
    "forwarded short": "----- Forwarded by Jeff Dasovich/NA/Enron on 10/11/2000 02:23 PM -----\n\nold words",
    "notes": "\tJohn Doe@ENRON\n\t05/14/2001 02:12 PM\n\t\t \n\t\t To: Allen\n\t\t cc: \n\t\t Subject:\n\n",
    "notes one line": "Jane Roe <roe@park.com> on 02/18/2000 02:34:38 PM\nTo: X\ncc:  \nSubject: z\n\nold",
    "angle brackets": "> old words\n> more old words\n>\n> > oldest words",
    "wrote": "On Monday, May 14, 2001, John Doe wrote:\n> old words of a line that was too long for the program that "
    "sent\nthem, so they lost their mark",
    "wrote without marks": "On Monday, May 14, 2001, John Doe wrote:\n\nold words",
    "groupwise": '>>> "Doe, John" <doe@park.com> 11/07/00 10:08PM >>>\nold words',
    "groupwise on two lines": ">>> John Doe <doe@park.com>\n11/07/00 10:08PM >>>\nold words",
    "raw of parts": "Content-Transfer-Encoding: 7bit\nDate: Mon, 14 May\nFrom: <a@b.com>\nTo: c\n\nold words",
    "raw with more above": "Subject: x\nReturn-Path: <a@b.com>\nFrom: <a@b.com>\nTo: c\n\nold words",
    "letterhead": "   \n\tPark Energy Services\n\t\n\tFrom:  John Doe @ PARK         05/14/2001 08:56 AM\n\t\n\n"
    "To: Allen\ncc:  \nSubject: x\n\nold words",
    "letterhead with telephones": "\tPark Energy Services\n\t\n\tFrom:  John Doe                05/14/2001 08:34 AM\n"
    "\tPhone No: 713.555.0101 \n  713.555.0102 - Facsimile\n  EB1293\n\t\n\n\n\n"
    "To: Allen\ncc:  \nSubject: x\n\nold words",
    "letterhead without blanks at line ends": "\tPark Energy\n\n\tFrom:  John Doe      05/14/2001 08:34 AM\n"
    "\tFloor 3\n\n\n\nTo: Allen\ncc:\nSubject: x\n\nold words",
    "sent by": "\tJohn Doe@ENRON\n\tSent by: Jane Roe@ENRON\n\t05/14/2001 02:12 PM\n\t\t \n"
    "\t\t To: Allen\n\t\t cc: \n\t\t Subject:\n\nold",
    "sender alone": "\tJohn Doe\n\t\t \n\t\t To: Allen\n\t\t cc: Roe\n\t\t Subject: x\n\nold words",
    "two columns": "John.Doe\n@park.com           To:     Allen,\n                    Roe\n05/14/01            cc:\n"
    "02:12 PM            Subject: x\n\nold words",
    "one line": "\tJohn Doe/PARK@park 05/14/2001 10:18 AM \t   To: Allen  cc:   Subject: FW: x\t\n\nold words",
}


@pytest.mark.parametrize("quotation", QUOTATIONS.values(), ids=QUOTATIONS.keys())
def test_every_style_of_quotation_is_cut(quotation: str) -> None:
    assert own_words(f"{WORDS}\n\n\n{quotation}\n") == WORDS


def test_answers_between_quoted_lines_stay() -> None:
    assert own_words("> Can you come?\n\nYes.\n\n> At nine?\n\nNo, at ten.") == "Yes.\n\nNo, at ten."
    assert own_words("> Can you come?\nYes.\n> At nine?\nNo, at ten.") == "Yes.\n\nNo, at ten."


INTRODUCTIONS = [
    "On Tue, 2001-05-01 at 18:02 +0530, Jane Roe wrote:\n",
    "On Tuesday, 1 May 2001 at 18:02,\nJane Roe <roe@park.com> wrote:\n\n",
    "Jane Roe <roe@park.com>\nwrote:\n",
    "Jane Roe said:\n",
    "At 08:16 AM 08/06/2001 -0500, you wrote:\n",
    "--- Jane Roe <roe@park.com> wrote:\n",
    "Quoting Jane Roe <roe@park.com>:\n\n",
    "Am 01.05.2001 um 18:02 schrieb Jane Roe:\n",
    "Le 1 mai 2001, Jane Roe a écrit :\n",
    '----- Original Message -----\nFrom: "Jane Roe" <roe@park.com>\nTo: <a@b.com>\nSubject: tank\n\n',
    "",
]


@pytest.mark.parametrize("mark", ["> ", ">", "JR> ", " |> "])
@pytest.mark.parametrize("introduction", INTRODUCTIONS)
def test_answers_below_quoted_lines_stay_and_their_introduction_goes(introduction: str, mark: str) -> None:
    quoted = f"{mark}How do I empty the tank?\n{mark}> It is full.\n{mark}The pump is off.\n"
    more = f"{mark}And how do I fill it?\n"
    mail = f"Hi,\n{introduction}{quoted}\nOpen the valve.\n\n{more}\nFrom the truck.\n\nPat"
    assert own_words(mail) == "Hi,\n\nOpen the valve.\n\nFrom the truck.\n\nPat"
    assert own_words(f"{introduction}{quoted}\nI looked at it.") == "I looked at it."


def test_the_rest_of_a_broken_line_is_quoted_and_an_answer_below_a_whole_one_is_not() -> None:
    wide = "> a line that goes on and on until a mail program has to break it after the"
    assert own_words(f"{wide}\nword\n> that is too much.\n\nYes.") == "Yes."
    assert own_words(f"{wide} word.\nYes.\n> more\nNo.") == "Yes.\n\nNo."


@pytest.mark.parametrize(
    "text",
    [
        ">>> Things in the mailbag\n\nA letter came.\n\n>>> Odds and ends\n\nNothing.",
        "MEMORANDUM\n\nTO: All staff\nFROM: Jane Roe\nDATE: May 1, 2001\nRE: Parking\n\nPark in lot B.",
        "To: All staff\ncc: The board\nFrom: Jane Roe\nDate: May 1, 2001\nSubject: Parking\n\nPark in lot B.",
        "\tHere are two of them.  Thanks. Lynn",
        "My answer is in the note, and it is the same as the one that John wrote:\n\nNo.",
    ],
)
def test_headings_and_memoranda_of_the_authors_own_stay(text: str) -> None:
    assert own_words(text) == text
    assert own_words(f"{text}\n\n -----Original Message-----\nFrom: x\n\nold") == text


def test_a_line_that_a_mailbox_file_protected_is_no_quotation() -> None:
    assert own_words("Hello.\n\n>From here we go on.\n\nBye.") == "Hello.\n\nFrom here we go on.\n\nBye."
    assert own_words("> a\n>From here\n> b\n\nBye.") == "Bye."


SIGNATURES = [
    "\n\n-- \nPat Doe\nPark Inc.\n1 Main Street",
    "\n____________________\nContact\nE-mail\npat@park.com\nPhone\n(713) 555-0101\n____________________",
    "\nTel: (713) 555-0101\nFax: (713) 555-0102\nwww.park.com",
    "\n(713) 555-0101\n(713) 555-0102 (fax)\npat@park.com",
    "\n\n--------------------------\nSent from my BlackBerry Wireless Handheld (www.BlackBerry.net)",
    "\n\nSent from my iPhone",
    "\n\n____________________\nTank mailing list\ntank@park.com\nhttp://lists.park.com/listinfo/tank",
]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_what_stands_below_the_writers_name_goes(signature: str) -> None:
    assert own_words(f"The tank is empty.\n\nPat Doe{signature}\n") == "The tank is empty.\n\nPat Doe"


@pytest.mark.parametrize(
    "text",
    [
        "Please call:\n\nJane Roe\nTel: (713) 555-0101\nFax: (713) 555-0102",
        "(713) 555-0101\n(713) 555-0102",
        "Call me.\n\nPat\n(713) 555-0101",
        "First part.\n\n--\n" + "The second part goes on.\n" * 20 + "It ends.",
        "Figures:\n\n----------------\nWheat 12\nOats 14\n----------------",
    ],
)
def test_what_resembles_a_signature_stays(text: str) -> None:
    assert own_words(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "The original message was forwarded by mail -- or so he wrote.",
        "From here on: the subject is closed.\n\nTo be or not to be.",
        "Results are a - b - c, and 3 > 2.",
        "To: do list\n\nSubject matter experts will call.",
        "What? Really?! Yes: why? Because.",
    ],
)
def test_words_that_resemble_a_quotation_stay(text: str) -> None:
    assert own_words(text) == text


def test_legal_notices_and_marks_of_attachments_go() -> None:
    notice = "*" * 70 + "\nThis e-mail is the property of Enron Corp. and may contain confidential words\n" + "*" * 70
    assert own_words(f"{WORDS}\n\n - forecast.xls\n <<plan.doc>>\n\n{notice}") == WORDS


def test_a_legal_notice_goes_where_it_is_the_last_paragraph_alone() -> None:
    notice = "This e-mail may be privileged.\nIf you are not the intended recipient, delete it."
    assert own_words(f"{WORDS}\n \n{notice}\n") == WORDS
    for text in (notice, f"{WORDS}\n\n{notice}\n\nMore words.", f"{WORDS}\n\nThis message is confidential."):
        assert own_words(text) == text


@given(st.text() | st.text("-> \n:FromToSubject/0129Original Message"))
def test_no_body_makes_the_rules_fail(body: str) -> None:
    assert len(own_words(body)) <= len(body)


@given(st.text("a \t\xa0\x1f\n"))
def test_lines_end_in_no_blank_and_at_most_one_is_empty_between_two(body: str) -> None:
    lines = "\n".join(line.rstrip() for line in body.split("\n"))
    assert own_words(body) == re.sub("\n{3,}", "\n\n", lines).strip("\n")

"""A mail is decoded whatever its form; of its persons remain no address and no number."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_research.preprocessing.document import Document, Drop, ReadOptions
from gpt_research.preprocessing.formats.mail import parse
from gpt_research.preprocessing.formats.own_words import own_words
from gpt_research.preprocessing.readers import enron
from gpt_research.preprocessing.readers.enron import EnronReader
from gpt_research.preprocessing.text.personal_data import mask

SHARED = Path(__file__).parents[2].parent / "shared" / "corpora" / "enron" / "maildir"

HEAD = """Message-ID: <18782981.1075855378110.JavaMail.evans@thyme>
Date: Mon, 14 May 2001 16:39:00 -0700 (PDT)
From: phillip.allen@enron.com
To: tim.belden@enron.com, john.doe@enron.com,
\tjane.roe@enron.com
Subject: Re: a long subject that is
 folded
Cc:
Mime-Version: 1.0
Content-Type: text/plain; charset=ANSI_X3.4-1968
Content-Transfer-Encoding: 7bit
X-From: Phillip K Allen
X-To: Tim Belden <Tim Belden/Enron@EnronXGate>
X-cc:

"""
WORDS = "Here is our forecast.\n\nPhillip"

FORWARDED = "---------------------- Forwarded by Phillip K Allen/HOU/ECT ---------------------------\n\nold words"
ANSWERED = " -----Original Message-----\nFrom: Doe, John \nSent: Monday\nTo: Allen\n\nold words"


@given(st.binary() | st.binary().map(lambda data: b"Subject: =?x?Q?=E9?=\nContent-Type: multipart/mixed\n\n" + data))
def test_no_message_makes_the_parser_fail(data: bytes) -> None:
    parse(data)


def test_folded_empty_and_encoded_headers_are_read() -> None:
    mail = parse((HEAD.replace("folded", "folded =?iso-8859-1?Q?caf=E9?=") + WORDS).encode())
    assert mail.headers["subject"] == "Re: a long subject that is folded café"
    assert mail.headers["cc"] == ""
    assert mail.headers["to"].endswith("john.doe@enron.com, jane.roe@enron.com")
    assert mail.body == WORDS


QUOTED = b"A long line that goes on and on and on until it must be broken here=\n, caf=E9 =20\nprice =3D 5=20\n"


@pytest.mark.parametrize("transfer", ["quoted-printable", "7bit"])
def test_quoted_printable_is_decoded_also_where_it_is_not_declared(transfer: str) -> None:
    head = f"Content-Type: text/plain; charset=ANSI_X3.4-1968\nContent-Transfer-Encoding: {transfer}\n\n"
    assert own_words(parse(head.encode() + QUOTED).body) == (
        "A long line that goes on and on and on until it must be broken here, café\nprice = 5"
    )


@pytest.mark.parametrize("charset", ["no-such-one", "hex", "idna", "punycode", "undefined"])
def test_a_body_whose_charset_is_none_is_decoded_by_its_content(charset: str) -> None:
    assert parse(f"Content-Type: text/plain; charset={charset}\n\ncafé".encode()).body == "café"


def test_equations_and_addresses_are_not_taken_for_quoted_printable() -> None:
    body = "a =20 and http://x.com/?a=3D&b=\n"
    assert parse(f"Subject: x\n\n{body}".encode()).body == body


def test_base64_other_charsets_and_parts_are_decoded() -> None:
    text = base64.b64encode("Привет".encode("koi8-r")).decode()
    head = "Subject: x\nContent-Type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: base64\n\n"
    assert parse((head + text).encode()).body == "Привет"
    parts = (
        'Subject: x\nContent-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: text/html\n\n'
        "<p>Rich<br>text &amp; more</p>\n--b\nContent-Type: text/plain\n\nPlain text\n--b--\n"
    )
    assert parse(parts.encode()).body.strip() == "Plain text"
    assert "Rich\ntext & more" in parse(parts.replace("text/plain", "image/gif").encode()).body


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("mail jeff.skilling@enron.com, or <a_b@x.co.uk>.", "mail [EMAIL], or <[EMAIL]>."),
        ("ask Sherri Sera@ENRON today", "ask [EMAIL] today"),
        ("(713) 853-1234, 713/853-1234, 713.853.1234, 1-800-555-1234", "[PHONE], [PHONE], [PHONE], [PHONE]"),
        ("at 853-1234, x31234 or 3-1234", "at [PHONE], [PHONE] or [PHONE]"),
        ("London +44 (0) 20 7783 0000", "London [PHONE]"),
        ("fax: 7138531234", "fax: [PHONE]"),
        ("SSN 123-45-6789", "SSN [SSN]"),
        ("card 4111 1111 1111 1111, 4111111111111111", "card [CARD], [CARD]"),
        ("1221 Lamar Street, Suite 718", "[ADDRESS]"),
        ("Houston, TX 77010-1234", "Houston, TX [ADDRESS]"),
        ("P.O. Box 1188", "[ADDRESS]"),
        ("P. O.  Box  1188 or Box 15779", "[ADDRESS] or [ADDRESS]"),
        ("1400  Smith  Street", "[ADDRESS]"),
        ("at extension 4711 or ext. 4712", "at [PHONE] or [PHONE]"),
        ("Paris +33 1 42 68 53 00", "Paris [PHONE]"),
        ("Daily --703-816-8625 fax", "Daily --[PHONE] fax"),
        ("office 415-781-0701is open", "office [PHONE]is open"),
        ("FAX-552-7075", "FAX-[PHONE]"),
        ("Mark Frevert/ENRON@enronXgate", "[EMAIL]"),
    ],
)
def test_addresses_and_numbers_of_persons_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


def test_a_number_is_masked_in_whatever_line_it_stands() -> None:
    """The search for lines that need work overlooks none: as many are masked as alone."""
    numbers = [
        "(713) 853-1234",
        "x31234",
        "extension: 4711",
        "12 Main Street",
        "Box 4711",
        "+44 20 7783 0000",
        "a@b.com",
        "3 Old  St. Mark's Ave.",
        "P.O. Box  7",
        "TX 77010",
        "4111 1111 1111 1111",
        "3782-822463-10005",
        "123-45-6789",
        "fax: 5551234",
    ]
    for number in numbers:
        alone = mask(number)
        assert alone != number
        for form in ("{}", "é: {}", "{}\n", "x\n\n{} 2001\ny", "€ {}\n{}\n\n{}"):
            assert mask(form.replace("{}", number)) == form.replace("{}", alone)


@pytest.mark.parametrize(
    "text",
    [
        "On 05/14/2001 at 10:30 we paid $1,250,000.00 for 3,000 MW.",
        "In 1999-2000 prices rose 12.5% to 45.75.",
        "Order 4711, docket EL00-95-000, page 12-13.",
        "A Box 12 high, +84 and +62, up 12-555-123-4567-8.",
        "Meet @ 5; the chip costs 5 dollars.",
    ],
)
def test_prices_dates_and_names_are_not_masked(text: str) -> None:
    assert mask(text) == text


def read(root: Path, options: ReadOptions | None = None) -> list[Document | Drop]:
    reader = EnronReader()
    return [item for unit in reader.units(root) for item in reader.read(root, unit, options or ReadOptions())]


MAILS = {
    "maildir/allen-p/inbox/1.": HEAD + WORDS,
    "maildir/allen-p/sent/7.": HEAD.replace("18782981", "999") + WORDS + "\n\n" + FORWARDED,
    "maildir/belden-t/2.": HEAD,
    "maildir/belden-t/10.": HEAD + ANSWERED,
}


@pytest.fixture(params=["folder", "tar.gz", "csv", "parquet"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same four mails in each form that is on offer."""
    if request.param == "folder":
        for name, message in MAILS.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(message)
        return tmp_path / "maildir"
    if request.param == "tar.gz":
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            for name, message in MAILS.items():
                member = tarfile.TarInfo(name)
                member.size = len(message.encode())
                archive.addfile(member, io.BytesIO(message.encode()))
        path = tmp_path / "enron_mail_20150507.tar.gz"
        path.write_bytes(gzip.compress(raw.getvalue()))
        return path
    if request.param == "csv":
        path = tmp_path / "emails.csv"
        rows = [[json.dumps(name), '"' + message.replace('"', '""') + '"'] for name, message in MAILS.items()]
        path.write_text('"file","message"\n' + "".join(",".join(row) + "\n" for row in rows))
        return path
    path = tmp_path / "train.parquet"
    head = "From: phillip.allen@enron.com\nTo: tim.belden@enron.com\nDate: Mon\nSubject: {}\nBody:\n"
    subject = "Re: a long subject that is folded"
    bodies = [message.split("X-cc:\n\n")[1] for message in MAILS.values()]
    pq.write_table(pa.table({"text": [head.format(subject) + body for body in bodies]}), path)
    return path


def test_every_form_gives_the_same_documents(corpus: Path) -> None:
    items = read(corpus)
    text = f"Subject: Re: a long subject that is folded\n\n{WORDS}"
    assert [item.text for item in items if isinstance(item, Document)] == [text, text]
    assert sorted(item.reason for item in items if isinstance(item, Drop)) == ["empty", "only_quotation"]
    assert not any(item.broken for item in items if isinstance(item, Drop))


def test_the_short_header_is_of_choice_and_names_no_address(tmp_path: Path) -> None:
    (tmp_path / "1.").write_text(HEAD + WORDS)
    [none] = read(tmp_path, ReadOptions(mail_header="none"))
    [full] = read(tmp_path, ReadOptions(mail_header="full"))
    assert isinstance(none, Document)
    assert isinstance(full, Document)
    assert none.text == WORDS
    assert full.text.split("\n\n")[0] == (
        "From: Phillip K Allen\nTo: Tim Belden\nDate: Mon, 14 May 2001 16:39:00 -0700 (PDT)\n"
        "Subject: Re: a long subject that is folded"
    )


def test_personal_data_are_kept_on_request(tmp_path: Path) -> None:
    (tmp_path / "1.").write_text(HEAD + "call 713-853-1234")
    for keep, words in ((False, "call [PHONE]"), (True, "call 713-853-1234")):
        [document] = read(tmp_path, ReadOptions(keep_personal_data=keep))
        assert isinstance(document, Document)
        assert document.text.endswith(words)


@pytest.mark.parametrize("length", [-1, 0, 1, 100_000])
def test_a_mail_of_any_length_is_read_whole(tmp_path: Path, length: int) -> None:
    (tmp_path / "1.").write_text(HEAD + "x" * (enron._MOST_MAILS - len(HEAD) + length))
    [document] = read(tmp_path, ReadOptions(mail_header="none"))
    assert isinstance(document, Document)
    assert len(document.text) == enron._MOST_MAILS - len(HEAD) + length


def test_an_empty_file_and_a_vanished_one_are_set_aside_and_the_rest_is_read(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.").write_text(HEAD + WORDS if number else "")
    reader = EnronReader()
    [unit] = reader.units(tmp_path)
    items = reader.read(tmp_path, unit, ReadOptions())
    first = next(items)
    (tmp_path / "2.").unlink()
    rest = list(items)
    assert isinstance(first, Drop)
    assert (first.reason, first.source, first.broken) == ("empty_file", "0.", True)
    assert isinstance(rest[0], Document)
    assert isinstance(rest[1], Drop)
    assert (rest[1].reason, rest[1].broken) == ("vanished", True)


def test_real_mails_hold_no_quotation_and_no_address() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"no sample mails in {SHARED}")
    items = read(SHARED)
    documents = [item for item in items if isinstance(item, Document)]
    assert len(documents) > 0.8 * len(items)
    assert sum("@" in document.text for document in documents) < 0.03 * len(documents)
    for sign in ("-----Original Message", "-- Forwarded by", "\n>(?!>)", "=20\n", "Message-ID:"):
        assert not [document.source for document in documents if re.search(sign, document.text)], sign


def test_a_picture_among_mails_is_no_mail(tmp_path):
    inbox = tmp_path / "maildir" / "a" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "1.").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4)
    [unit] = EnronReader().units(tmp_path)
    [item] = EnronReader().read(tmp_path, unit, ReadOptions())
    assert (item.reason, item.detail) == ("not_text", "it is a PNG picture")

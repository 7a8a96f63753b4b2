"""What the checkout reads: samples, and files in the forms that the samples lack."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def lay_out_inputs(samples: Path, inputs: Path) -> None:
    """Copy the samples to a folder of ours, of the books a few, and write files in the forms that
    there are none of.
    """
    corpora = samples / "corpora"
    for name in ("gutenberg_old", "enron", "wikipedia", "openwebtext", "cnn"):
        copy_folder(corpora / name, inputs / name)
    for name in ("wikitext2", "lambada", "hellaswag"):
        copy_folder(samples / "benchmarks" / name, inputs / "benchmarks" / name)
    books = sorted((corpora / "gutenberg").glob("*.txt"), key=lambda path: (path.stat().st_size, path.name))
    for path in books[:160:8]:
        copy_file(path, inputs / "gutenberg" / path.name)
    paragraphs = list(paragraphs_of(books[30:33]))
    write_transweb(inputs / "transweb", paragraphs[:60])
    passage = json.loads((inputs / "benchmarks/lambada/lambada_test.jsonl").read_text(encoding="utf-8").split("\n")[0])
    write_own(inputs / "own", paragraphs[60:160], passage["text"])
    write_mails(inputs / "forms", inputs / "enron" / "maildir")
    write_web(inputs / "forms", inputs / "openwebtext" / "openwebtext")
    write_models(inputs / "models", samples / "models" / "tiny_random_gpt2")


def copy_file(source: Path, place: Path) -> None:
    """Copy a file's bytes alone, so that a read-only sample becomes a file we may remove."""
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def copy_folder(source: Path, place: Path) -> None:
    """Copy a folder as `copy_file` does."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        copy_file(path, place / path.relative_to(source))


def paragraphs_of(books: Sequence[Path]) -> Iterator[str]:
    """Return the longer paragraphs of some books."""
    for book in books:
        for paragraph in book.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            if len(paragraph) > 300:
                yield paragraph.strip()


def write_transweb(folder: Path, texts: Sequence[str]) -> None:
    """Write chunks of JSON lines, one of them in a language that is passed over."""
    folder.mkdir(parents=True)
    for name, part in (("en_chunk0", texts[:40]), ("en_chunk1", texts[30:]), ("fr_chunk0", texts[:5])):
        lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_own(folder: Path, texts: Sequence[str], passage: str) -> None:
    """Write a folder of text, JSON lines, CSV and Parquet, packed and not, with damage, copies and
    benchmark text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text(f"{texts[0]}\n\n{passage}\n\n{texts[1]}\n", encoding="utf-8")
    (folder / "pages.md").write_text("\n<|endoftext|>\n".join(texts[2:20]), encoding="utf-8")
    (folder / "odd.txt").write_bytes("CafÃ© au lait,\r\n\r\n\r\n\r\nand\x00 then “more”.   \r\n".encode() * 4)
    rows = [json.dumps({"title": "A", "body": text}) for text in texts[20:40]]
    rows[3:3] = ['{"body": "torn', '{"other": 1}', json.dumps({"body": "short"}), rows[0], rows[1][:-3] + ' end."}']
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = io.StringIO()
    csv.writer(table).writerows([["id", "text"], *([str(i), text] for i, text in enumerate(texts[40:60]))])
    (folder / "table.csv").write_text(table.getvalue(), encoding="utf-8")
    packed = "".join(json.dumps({"text": text}) + "\n" for text in texts[60:80]).encode()
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(packed, mtime=0))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(packed, mtime=0)[:-200])
    pq.write_table(pa.table({"url": ["x"] * 20, "text": list(texts[80:100])}), folder / "table.parquet")


def write_mails(folder: Path, maildir: Path) -> None:
    """Write some mails as Kaggle's table, and as the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(path for path in maildir.rglob("*") if path.is_file())
    mails, others = found[::7], found[3::14]
    table = io.StringIO()
    writer = csv.writer(table, quoting=csv.QUOTE_ALL)
    writer.writerow(["file", "message"])
    for path in mails:
        writer.writerow([path.relative_to(maildir).as_posix(), path.read_text(encoding="latin-1")])
    (folder / "emails.csv").write_text(table.getvalue(), encoding="utf-8")
    archive = pack({f"maildir/{path.relative_to(maildir).as_posix()}": path.read_bytes() for path in others})
    (folder / "enron_mail.tar.gz").write_bytes(gzip.compress(archive, mtime=0))


def write_web(folder: Path, archives: Path) -> None:
    """Write an archive of OpenWebText's archives."""
    inner = {f"openwebtext/{path.name}": path.read_bytes() for path in sorted(archives.iterdir())}
    (folder / "openwebtext.tar").write_bytes(pack(inner))


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive that holds no time."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def write_models(folder: Path, fixture: Path) -> None:
    """Write the tiny random GPT-2 as Hugging Face and as nanoGPT have it; what its file lacks is
    ones and zeros.
    """
    import numpy as np
    import torch
    from safetensors.numpy import save_file

    layers, heads, width = 5, 4, 32
    arrays = dict(np.load(fixture / "tiny_random_gpt2_fixture.npz"))
    tensors = {name: array for name, array in arrays.items() if name.startswith("transformer.")}
    sizes = {"attn.c_attn": 3 * width, "attn.c_proj": width, "mlp.c_fc": 4 * width, "mlp.c_proj": width}
    modules = {f"transformer.h.{i}.{name}": size for i in range(layers) for name, size in sizes.items()}
    norms = [f"transformer.h.{i}.ln_{j}" for i in range(layers) for j in (1, 2)] + ["transformer.ln_f"]
    tensors |= {f"{name}.bias": np.zeros(size, np.float32) for name, size in modules.items()}
    tensors |= {f"{name}.weight": np.ones(width, np.float32) for name in norms}
    tensors |= {f"{name}.bias": np.zeros(width, np.float32) for name in norms}
    settings = {"n_layer": layers, "n_head": heads, "n_embd": width, "vocab_size": 1000}
    (folder / "hf").mkdir(parents=True)
    save_file(tensors, folder / "hf" / "model.safetensors", metadata={"format": "pt"})
    content = {"model_type": "gpt2", "activation_function": "gelu_new", "n_positions": 512, **settings}
    (folder / "hf" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    linear = {name: array.T if name.removesuffix(".weight") in modules else array for name, array in tensors.items()}
    weights = {f"_orig_mod.{name}": torch.from_numpy(array.copy()) for name, array in linear.items()}
    torch.save({"model": weights, "model_args": {**settings, "block_size": 512, "bias": True}}, folder / "ckpt.pt")

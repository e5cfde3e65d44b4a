"""scripts/get_fdistill.sh: the text of f-DISTILL's four tasks, from miniatures of their official files."""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.scripts import FDISTILL, shell

SPLIT_LIST = "XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json"
ARTICLES = "XSUM-EMNLP18-Summary-Data-Original.tar.gz"


def text(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def archive(path: Path, files: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))


def unit(en: str, ro: str) -> str:
    return f'<tu><tuv xml:lang="en"><seg>{en}</seg></tuv><tuv xml:lang="ro"><seg>{ro}</seg></tuv></tu>'


def wmt16(folder: Path) -> None:
    sides = {side: "".join(f"{side} {row}\n" for row in range(40)) for side in ("en", "ro")}
    sides["ro"] = sides["ro"].replace("ro 7\n", "\n")
    archive(
        folder / "training-parallel-ep-v8.tgz",
        {f"training-parallel-ep-v8/europarl-v8.ro-en.{side}": content for side, content in sides.items()}
        | {"training-parallel-ep-v8/europarl-v8.fi-en.en": "other\n"},
    )
    units = [unit(f"S &amp; {row}", f"Ș {row}") for row in range(20)] + [unit("no other side", "")]
    tmx = f'<?xml version="1.0"?><tmx version="1.4"><header/><body>{"".join(units)}</body></tmx>'
    (folder / "en-ro.tmx.gz").write_bytes(gzip.compress(tmx.encode()))
    for split in ("valid", "test"):
        for side in ("en", "ro"):
            (folder / f"{split}.{side}").write_text(f"{split} {side}\n")


def dart(folder: Path) -> None:
    def entry(records: list[list[str]], *sentences: str) -> dict:
        notes = [{"source": "WikiSQL", "text": sentence} for sentence in sentences]
        return {"tripleset": records, "subtree_was_extended": False, "annotations": notes}

    one, two = [["Ben", "HIGH_SCHOOL", "Kenton"]], [["Ben", "COLLEGE", "Wake Forest"], ["Ben", "TEAM", "Ohio"]]
    test = [entry(one, "Ben attended\nKenton."), entry(two, "a", "b", "c", "d"), entry(one, "Kenton had Ben.")]
    for split, entries in {
        "train": [entry(one, "x", "y"), entry(two, "z")],
        "dev": [entry(two, "v")],
        "test": test,
    }.items():
        (folder / f"dart-v1.1.1-full-{split}.json").write_text(json.dumps(entries))


def xsum(folder: Path) -> None:
    (folder / SPLIT_LIST).write_text(json.dumps({"test": ["3"], "train": ["1", "4"], "validation": ["2"]}))
    body = "Share this with\nEmail\nBody of {0}.\n\nIts second line is\there.\n"
    form = "[SN]URL[SN]\nhttp://web/{0}\n\n[SN]TITLE[SN]\nTitle {0}\n\n[SN]FIRST-SENTENCE[SN]\nSummary {0}.\n\n"
    form += "[SN]RESTBODY[SN]\n"
    files = {f"bbc-summary-data/{number}.summary": (form + body).format(number) for number in (4, 3, 9, 2, 1)}
    archive(folder / ARTICLES, files)


def commonsense_dialogue(folder: Path) -> None:
    for split in ("train", "valid", "test"):
        dialogue = {
            "context": f"Robin went to {split}.",
            "speaker": "Robin",
            "turns": ["Hi\u2026", "How was it?", "Fun."],
        }
        (folder / f"{split}.json").write_text(json.dumps({"1": dialogue}))


MAKE = {"wmt16_en_ro": wmt16, "dart": dart, "xsum": xsum, "commonsense_dialogue": commonsense_dialogue}


def get(task: str, tmp_path: Path, *words: str, out: str = "out") -> Path:
    own = tmp_path / "own" / "deep"
    if not own.exists():
        own.mkdir(parents=True)
        MAKE[task](own)
    outer = own if task == "wmt16_en_ro" else own.parent
    done = shell("get_fdistill.sh", task, out, *words, folder=tmp_path, **{FDISTILL[task]: str(outer)})
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / out).iterdir() if path.is_dir()} == set()
    return tmp_path / out


def test_wmt16_draws_the_same_pairs_each_time(tmp_path: Path) -> None:
    out = get("wmt16_en_ro", tmp_path, "--pairs", "30")
    pairs = list(zip(text(out / "train.en"), text(out / "train.ro"), strict=True))
    every = [(f"en {row}", f"ro {row}") for row in range(40) if row != 7]
    every += [(f"S & {row}", f"Ș {row}") for row in range(20)]
    assert len(set(pairs)) == 30 and pairs == sorted(pairs, key=every.index)  # of both corpora, in their order
    assert any(en.startswith("S") for en, _ in pairs) and any(en.startswith("en") for en, _ in pairs)
    assert (text(out / "valid.ro"), text(out / "test.en")) == (["valid ro"], ["test en"])
    assert text(get("wmt16_en_ro", tmp_path, "--source-words", "1", "--pairs", "9", out="cut") / "valid.en") == [
        "valid"
    ]
    before = (out / "train.en").read_bytes()
    shutil.rmtree(out)
    assert (get("wmt16_en_ro", tmp_path, "--pairs", "30") / "train.en").read_bytes() == before
    shutil.rmtree(out)
    done = shell("get_fdistill.sh", "wmt16_en_ro", "out", folder=tmp_path, WMT16_DIR=str(tmp_path / "own" / "deep"))
    assert done.returncode == 1 and "have 59 pairs, fewer than --pairs 100000" in done.stderr


def test_dart_has_a_row_for_each_set_of_records_of_the_test_set(tmp_path: Path) -> None:
    out = get("dart", tmp_path)
    one, two = "Ben : HIGH_SCHOOL : Kenton", "Ben : COLLEGE : Wake Forest | Ben : TEAM : Ohio"
    assert text(out / "train.records") == [one, one, two] and text(out / "train.en") == ["x", "y", "z"]
    assert text(out / "valid.records") == [two]
    assert text(out / "test.records") == [one, two]
    assert text(out / "test.en") == ["Ben attended Kenton.", "a"]
    assert text(out / "test.en.2") == ["Kenton had Ben.", "b"] and text(out / "test.en.3") == ["", "c"]


def test_xsum_is_split_by_its_authors_list(tmp_path: Path) -> None:
    out = get("xsum", tmp_path)
    assert text(out / "train.summary") == ["Summary 4.", "Summary 1."]  # as in the archive; 9 is in no split
    assert text(out / "valid.document") == ["Body of 2. Its second line is here."]
    assert text(out / "test.summary") == ["Summary 3."]
    shutil.rmtree(out)
    assert text(get("xsum", tmp_path, "--source-words", "4") / "valid.document") == ["Body of 2. Its"]


def test_each_turn_of_a_dialogue_is_a_reply(tmp_path: Path) -> None:
    out = get("commonsense_dialogue", tmp_path)
    begun = "Robin went to test."
    assert text(out / "test.context") == [begun, f"{begun} | Hi…", f"{begun} | Hi… | How was it?"]
    assert text(out / "test.reply") == ["Hi…", "How was it?", "Fun."]


@pytest.mark.parametrize("task", FDISTILL)
def test_text_of_the_users_own(task: str, tmp_path: Path) -> None:
    """Again it does nothing, and what is not parallel is refused."""
    (tmp_path / "own").mkdir()
    sides = re.search(rf"{task}\) source=(\w+) target=(\w+)", (ROOT / "scripts" / "get_fdistill.sh").read_text())
    assert sides
    for split in ("train", "valid", "test"):
        (tmp_path / "own" / f"{split}.{sides[1]}").write_text(f"{split}\n")
        (tmp_path / "own" / f"{split}.{sides[2]}.gz").write_bytes(gzip.compress(b"other\n"))
    own = {FDISTILL[task]: "own"}
    for told in (3, 0):
        done = shell("get_fdistill.sh", task, "out", folder=tmp_path, **own)
        assert done.returncode == 0 and len(done.stderr.splitlines()) == told, done.stderr
    assert text(tmp_path / "out" / f"train.{sides[1]}") == ["train"]
    (tmp_path / "own" / f"test.{sides[1]}").write_text("one\ntwo\n")
    done = shell("get_fdistill.sh", task, "again", folder=tmp_path, **own)
    assert done.stderr.endswith(f"test.{sides[1]} has 2 lines, test.{sides[2]} 1 (from own)\n")


def own_text(folder: Path, source: str, target: str, rows: int) -> None:
    """Ready text: each source has the number of its row and more words."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        sides = {source: f"{split} {{}} more  words\n", target: f"{split} {{}}\n"}
        for side, line in sides.items():
            (folder / f"{split}.{side}").write_text("".join(line.format(row) for row in range(rows)))


def test_options_and_references_of_ready_text(tmp_path: Path) -> None:
    own_text(tmp_path / "own", "records", "en", 2)
    (tmp_path / "own" / "test.en.2").write_text("second\n\n")
    (tmp_path / "own" / "test.en.3.gz").write_bytes(gzip.compress(b"\nthird\n"))
    get = ("get_fdistill.sh", "dart")
    done = shell(*get, "out", "--source-words", "2", folder=tmp_path, DART_DIR="own")
    assert done.returncode == 0, done.stderr
    for split in ("train", "valid", "test"):
        assert text(tmp_path / "out" / f"{split}.records") == [f"{split} 0", f"{split} 1"]
    assert text(tmp_path / "out" / "test.en.2") == ["second", ""]
    assert text(tmp_path / "out" / "test.en.3") == ["", "third"]
    assert shell(*get, "whole", folder=tmp_path, DART_DIR="own").returncode == 0
    assert text(tmp_path / "whole" / "valid.records") == text(tmp_path / "own" / "valid.records")
    (tmp_path / "own" / "test.en.2").write_text("second\n")
    done = shell(*get, "other", folder=tmp_path, DART_DIR="own")
    assert done.returncode == 1 and done.stderr.endswith("test.en has 2 lines, test.en.2 1 (from own)\n")
    assert list((tmp_path / "other").iterdir()) == []


def test_pairs_are_drawn_from_ready_text(tmp_path: Path) -> None:
    own_text(tmp_path / "own", "en", "ro", 9)
    get = ("get_fdistill.sh", "wmt16_en_ro")
    for name in ("out", "again"):
        done = shell(*get, name, "--pairs", "4", "--source-words", "3", folder=tmp_path, WMT16_DIR="own")
        assert done.returncode == 0, done.stderr
    drawn = text(tmp_path / "out" / "train.ro")
    assert drawn == text(tmp_path / "again" / "train.ro") and len(set(drawn)) == 4 and drawn == sorted(drawn)
    assert text(tmp_path / "out" / "train.en") == [f"{one} more" for one in drawn]
    assert len(text(tmp_path / "out" / "test.ro")) == 9
    assert shell(*get, "out", "--source-words", "3", "--pairs", "4", folder=tmp_path).returncode == 0
    done = shell(*get, "out", "--pairs", "5", folder=tmp_path)
    told = "out was made with --pairs 4 --source-words 3, not with --pairs 5 --source-words 0; remove its text or"
    assert done.returncode == 1 and told in done.stderr
    done = shell(*get, "more", "--pairs", "10", folder=tmp_path, WMT16_DIR="own")
    assert done.returncode == 1 and done.stderr.endswith("train.en has 9 pairs, fewer than --pairs 10\n")
    (tmp_path / "own" / "train.ro").write_text("one\n")
    done = shell(*get, "more", "--pairs", "1", folder=tmp_path, WMT16_DIR="own")
    assert done.returncode == 1 and done.stderr.endswith("train.en has 9 lines, train.ro 1 (from own)\n")


def test_what_is_wrong(tmp_path: Path) -> None:
    def told(*words: str, **variables: str) -> str:
        done = shell("get_fdistill.sh", *words, folder=tmp_path, **variables)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1].removeprefix("get_fdistill.sh: error: ")

    assert told("ted", "out").startswith("no task 'ted'; take wmt16_en_ro, dart")
    assert told("dart", "out", "--source-words", "few").startswith("--source-words few: give a whole number")
    assert told("dart", "out", "--pairs", "9") == "--pairs goes with wmt16_en_ro; leave it out"
    assert told("dart", "out", DART_DIR="none") == f"DART_DIR=none is no folder (seen from {tmp_path})"
    own = tmp_path / "own"
    own.mkdir()
    assert told("dart", "out", DART_DIR="own") == "no dart-v1.1.1-full-train.json in own"
    xsum(own)
    (own / SPLIT_LIST).write_text(json.dumps({"test": ["3"], "train": ["1", "77"], "validation": ["2"]}))
    assert told("xsum", "out", XSUM_DIR="own") == f"own/{ARTICLES} lacks 1 of 4 articles, such as 77; remove it"
    whole = (own / ARTICLES).read_bytes()
    for damaged in (whole[:200], b"no archive"):
        (own / ARTICLES).write_bytes(damaged)
        assert f"own/{ARTICLES}: cannot be read (" in told("xsum", "out", XSUM_DIR="own")
    commonsense_dialogue(own)
    (own / "test.json").write_text('{"1": {"turns": []}}')
    assert "own/test.json: cannot be read (KeyError('context')" in told(
        "commonsense_dialogue", "out", COMMONSENSE_DIALOGUE_DIR="own"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_downloads_are_compared_with_their_sums(tmp_path: Path) -> None:
    """The script's own addresses, answered by files of this machine. Another archive than the published is refused."""
    served, scripts = tmp_path / "served", tmp_path / "clone" / "scripts"
    served.mkdir()
    xsum(served)
    shutil.copytree(ROOT / "scripts", scripts)
    script = (ROOT / "scripts" / "get_fdistill.sh").read_text()
    script = re.sub(r"(https?://\S*|\$raw/\S*)/([^/\s\"]+)", rf"file://{served}/\2", script)
    (scripts / "get_fdistill.sh").write_text(script)
    done = shell(scripts / "get_fdistill.sh", "xsum", "out", folder=tmp_path)
    found = hashlib.sha256((served / SPLIT_LIST).read_bytes()).hexdigest()
    assert done.returncode == 1 and f"/{SPLIT_LIST} has the SHA-256 {found} instead of 9c0c5d8f" in done.stderr
    for name in (SPLIT_LIST, ARTICLES):
        sum_of = hashlib.sha256((served / name).read_bytes()).hexdigest()
        wanted = r"\b9c0c5d8f[0-9a-f]{56}\b" if name == SPLIT_LIST else r"\b10b48aa1[0-9a-f]{56}\b"
        script, count = re.subn(wanted, sum_of, script)
        assert count == 1
    (scripts / "get_fdistill.sh").write_text(script)
    done = shell(scripts / "get_fdistill.sh", "xsum", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out" / "archives").iterdir()) == sorted([SPLIT_LIST, ARTICLES])
    assert text(tmp_path / "out" / "test.summary") == ["Summary 3."]

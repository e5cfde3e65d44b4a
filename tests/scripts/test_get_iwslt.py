"""scripts/get_iwslt.sh: what it makes of miniature WIT3 archives, a user's or those that a local server gives."""

import hashlib
import http.server
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.test_get_text import made, write
from tests.support.commands import ROOT
from tests.support.scripts import refused, shell

SETS = {
    2013: ["TED.dev2010", "TED.tst2010"],
    2014: ["TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"],
    2015: ["TED.tst2010", "TED.tst2011", "TED.tst2012", "TED.tst2013"],
    2017: ["TED.dev2010", *(f"TED.tst{year}" for year in range(2010, 2016))],
}
PAIRS = {2013: ("en", "fr"), 2014: ("de", "en"), 2015: ("th", "en"), 2017: ("ar", "en")}


def archive_folder(folder: Path, year: int, talk_lines: int = 2) -> Path:
    """An unpacked archive: each talk line has its number and language; tags stand around and between them."""
    source, target = PAIRS[year]
    pair = f"{source}-{target}"
    for language in (source, target):
        talk = [f" Line {number} {language} " for number in range(1, talk_lines + 1)]
        head = [
            "<url>http://x</url>",
            " <talkid>1</talkid>",
            "<title>no line</title>",
            '<reviewer href="">x</reviewer>',
        ]
        write(folder / pair / f"train.tags.{pair}.{language}", *head, *talk, "</doc>")
        for name in SETS[year]:
            segments = [f'<seg id="1"> {name} {language} &amp; on </seg>', '  <seg id="2">last</seg>']
            path = folder / pair / f"IWSLT{year % 100}.{name}.{pair}.{language}.xml"
            write(path, "<?xml?>", "<doc>", "<title>t</title>", *segments, "</doc>")
    return folder / pair


def rows(*names: str) -> list[str]:
    return [line for name in names for line in (f"{name} & on", "last")]


@pytest.mark.parametrize("year", [2013, 2015, 2017])
def test_the_sets_of_a_campaign(year: int, tmp_path: Path) -> None:
    source, target = PAIRS[year]
    archive_folder(tmp_path / "own" / "texts", year)
    for _ in range(2):
        variables = {f"IWSLT{year % 100}_DIR": str(tmp_path / "own")}
        done = shell("get_iwslt.sh", str(year), source, target, "out", folder=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    valid = 2 if year == 2015 else 1
    expected = {"arguments": [str(year)]}
    for language in (source, target):
        named = [f"{name} {language}" for name in SETS[year]]
        expected[f"train.{language}"] = [f"Line 1 {language}", f"Line 2 {language}"]
        expected |= {f"valid.{language}": rows(*named[:valid]), f"test.{language}": rows(*named[valid:])}
    assert made(tmp_path / "out") == expected


def test_iwslt14_as_fairseq_splits_it(tmp_path: Path) -> None:
    """Every 23rd pair is validated on; pairs with an empty or a very long side are gone before."""
    own = archive_folder(tmp_path / "own", 2014, talk_lines=48)
    path = own / "train.tags.de-en.de"
    text = path.read_text().splitlines()
    text[text.index(" Line 1 de ")] = "  "
    text[text.index(" Line 2 de ")] = "word " * 176
    path.write_text("\n".join(text))
    done = shell("get_iwslt.sh", "2014", "de", "en", "out", "--lowercase", folder=tmp_path, IWSLT14_DIR=str(own))
    assert done.returncode == 0, done.stderr
    text = made(tmp_path / "out")
    assert text["valid.de"] == ["line 25 de", "line 48 de"] and text["valid.en"] == ["line 25 en", "line 48 en"]
    assert text["train.en"] == [f"line {number} en" for number in range(3, 48) if number != 25]
    assert text["test.de"] == rows(*(f"{name.lower()} de" for name in SETS[2014]))


def test_text_that_is_there_in_its_own_case(tmp_path: Path) -> None:
    archive_folder(tmp_path / "own", 2013)
    get = ("get_iwslt.sh", "2013", "en", "fr", "out")
    shell(*get, folder=tmp_path, IWSLT13_DIR=str(tmp_path / "own"))
    line = refused(*get, "--lowercase", folder=tmp_path)
    assert line.endswith("out was made with 2013, not with 2013 --lowercase; remove its text or take another folder")
    line = refused("get_iwslt.sh", "2015", *get[2:], folder=tmp_path)
    assert line.endswith("out was made with 2013, not with 2015; remove its text or take another folder")


@pytest.mark.parametrize("ending", ["tgz", "zip"])
def test_the_archive_itself_in_the_folder(ending: str, tmp_path: Path) -> None:
    inside = archive_folder(tmp_path / "made", 2013)
    (tmp_path / "own").mkdir()
    if ending == "zip":
        with zipfile.ZipFile(tmp_path / "own" / "en-fr.zip", "w") as archive:
            for path in inside.iterdir():
                archive.write(path, f"en-fr/{path.name}")
    else:
        with tarfile.open(tmp_path / "own" / "en-fr.tgz", "w:gz") as archive:
            archive.add(inside, "en-fr")
    done = shell("get_iwslt.sh", "2013", "en", "fr", "out", folder=tmp_path, IWSLT13_DIR=str(tmp_path / "own"))
    assert done.returncode == 0, done.stderr
    assert made(tmp_path / "out")["train.fr"] == ["Line 1 fr", "Line 2 fr"]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == []


def test_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    own = archive_folder(tmp_path / "own", 2015)
    words = ("get_iwslt.sh", "2015", "th", "en", "out")

    def told(**variables: str) -> str:
        line = refused(*words, folder=tmp_path, **variables)
        return line.removeprefix("get_iwslt.sh: error: ")

    (tmp_path / "empty").mkdir()
    (tmp_path / "out").mkdir()
    folder = {"IWSLT15_DIR": str(own)}
    assert told(IWSLT15_DIR="own/x") == f"IWSLT15_DIR=own/x is no folder (seen from {tmp_path})"
    assert told(IWSLT15_DIR="empty") == "neither train.tags.th-en.th nor th-en.tgz in empty"
    with (own / "train.tags.th-en.en").open("a") as file:
        file.write("one more\n")
    assert told(**folder) == "train.tags.th-en.th has 2 lines, train.tags.th-en.en has 3"
    archive_folder(tmp_path / "own", 2015)
    (own / "IWSLT15.TED.tst2012.th-en.th.xml").unlink()
    assert told(**folder) == f"no IWSLT15.TED.tst2012.th-en.th.xml in {own}"
    write(own / "IWSLT15.TED.tst2012.th-en.th.xml", '<seg id="1">one</seg>')
    assert told(**folder) == "IWSLT15.TED.tst2012.th-en.th.xml has 1 lines, IWSLT15.TED.tst2012.th-en.en.xml has 2"
    (tmp_path / "empty" / "th-en.tgz").write_bytes(b"no archive")
    assert told(IWSLT15_DIR="empty") == "empty/th-en.tgz is no sound archive; remove it"


class Ranged(http.server.SimpleHTTPRequestHandler):
    """Gives the rest of a file where it is asked for, and keeps what was asked for."""

    asked: list[str | None]

    def log_message(self, *words: object) -> None:
        pass

    def do_GET(self) -> None:
        text = Path(self.translate_path(self.path)).read_bytes()
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(text) - 1}/{len(text)}")
        self.send_header("Content-Length", str(len(text) - start))
        self.end_headers()
        self.wfile.write(text[start:])


class Whole(Ranged):
    """Knows of no ranges, as Python's own server."""

    def do_GET(self) -> None:
        self.asked.append(self.headers["Range"])
        del self.headers["Range"]
        http.server.SimpleHTTPRequestHandler.do_GET(self)


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[type[Ranged], str]]:
    """A server's handler and its address; it gives the files of ``tmp_path``."""
    kind = type("Handler", (request.param,), {"asked": []})

    def handler(*words: object) -> Ranged:
        return kind(*words, directory=str(tmp_path))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("served", "asked"), [(Ranged, ["bytes=700-"]), (Whole, ["bytes=700-", None])], indirect=["served"]
)
def test_a_download_goes_on(served: tuple[type[Ranged], str], asked: list[str | None], tmp_path: Path) -> None:
    handler, address = served
    text = bytes(range(256)) * 8
    (tmp_path / "file").write_bytes(text)
    (tmp_path / "got.part").write_bytes(text[:700])
    download = f'source {ROOT}/scripts/raw_text.sh; download "$@"'
    subprocess.run(["bash", "-c", download, "name", f"{address}/file", tmp_path / "got", "X_DIR"], check=True)
    assert (tmp_path / "got").read_bytes() == text and not (tmp_path / "got.part").exists()
    assert handler.asked == asked


@pytest.mark.parametrize("served", [Ranged], indirect=True)
def test_the_sum_of_a_download(served: tuple[type[Ranged], str], tmp_path: Path) -> None:
    """The script's own address, answered by a server on this machine."""
    with tarfile.open(tmp_path / "de-en.tgz", "w:gz") as archive:
        archive.add(archive_folder(tmp_path / "made", 2014, 23), "de-en")
    found = hashlib.sha256((tmp_path / "de-en.tgz").read_bytes()).hexdigest()
    copy = tmp_path / "clone" / "scripts"
    copy.mkdir(parents=True)
    for name in ("common.sh", "raw_text.sh", "wit3.py", "get_iwslt.sh"):
        text = (ROOT / "scripts" / name).read_text()
        copy.joinpath(name).write_text(text.replace("https://dl.fbaipublicfiles.com/fairseq/data/iwslt14", served[1]))
    words = (copy / "get_iwslt.sh", "2014", "de", "en", "out")
    done = shell(*words, folder=tmp_path, SHA256="0" * 64)
    assert done.returncode == 1 and f"has the SHA-256 {found} instead of {'0' * 64}; run again" in done.stderr
    done = shell(*words, folder=tmp_path, SHA256=found)
    assert done.returncode == 0 and f"out/archives/de-en.tgz: SHA-256 {found}\n" in done.stderr, done.stderr
    assert made(tmp_path / "out")["valid.de"] == ["Line 23 de"]


def test_a_download_that_fails_names_the_variable(tmp_path: Path) -> None:
    copy = tmp_path / "clone" / "scripts"
    copy.mkdir(parents=True)
    for name in ("common.sh", "raw_text.sh", "wit3.py", "get_iwslt.sh"):
        text = (ROOT / "scripts" / name).read_text()
        copy.joinpath(name).write_text(text.replace("https://dl.fbaipublicfiles.com", "file:///nosuch"))
    line = shell(copy / "get_iwslt.sh", "2014", "de", "en", "out", folder=tmp_path).stderr.splitlines()[-1]
    assert "error: cannot download file:///nosuch/fairseq/data/iwslt14/de-en.tgz (curl: (37)" in line
    assert line.endswith("; give the text's folder as IWSLT14_DIR")

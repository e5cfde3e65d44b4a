"""Profiles: how text becomes tokens, and mistakes in the YAML."""

from pathlib import Path

import pytest

from fairseq_kd.decoding.outside.profile import READY, Given, read_profile
from fairseq_kd.errors import UserError

NAMES = ("source.spm", "target.spm", "sentencepiece.bpe.model", "spm.model")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder with the sentencepiece models that the ready profiles look for."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in NAMES:
        (folder / name).touch()
    return folder


def written(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return str(folder / "mine.yaml")


SHAPES = {
    "opus-mt": ("eng", "deu", [">>deu<<", "…", "</s>"], []),
    "nllb": ("eng_Latn", "deu_Latn", ["eng_Latn", "…", "</s>"], ["deu_Latn"]),
    "m2m100": ("en", "de", ["__en__", "…", "</s>"], ["__de__"]),
    "mbart50": ("en_XX", "de_DE", ["en_XX", "…", "</s>"], ["de_DE"]),
    "fairseq-multilingual": ("en", "de", ["__en__", "…", "</s>"], ["__de__"]),
}


def test_every_ready_profile_has_a_shape() -> None:
    assert sorted(SHAPES) == list(READY)


@pytest.mark.parametrize("name", SHAPES)
def test_tags_of_the_ready_profiles(name: str, model: Path) -> None:
    source, target, expected, prefix = SHAPES[name]
    profile = read_profile(name, model, Given(source, target))
    assert [*profile.source_prefix, "…", *profile.source_suffix] == expected
    assert list(profile.target_prefix) == prefix
    assert profile.languages == (source, target) and profile.casing == "keep"
    assert profile.source_spm.name in NAMES and profile.source_spm.parent == model


@pytest.mark.parametrize("name", [name for name in READY if name != "opus-mt"])
def test_a_language_that_a_profile_needs(name: str, model: Path) -> None:
    with pytest.raises(UserError, match=rf"profile {name}: target_lang is missing; give --target-lang .* de"):
        read_profile(name, model, Given(source_lang="en"))
    with pytest.raises(UserError, match=rf"profile {name}: source_lang is missing; give --source-lang .* en"):
        read_profile(name, model, Given(target_lang="de"))


def test_opus_mt_with_one_target_language_has_no_tag(model: Path) -> None:
    profile = read_profile("opus-mt", model)
    assert (profile.source_prefix, profile.source_suffix, profile.target_prefix) == ((), ("</s>",), ())
    assert (profile.source_spm.name, profile.target_spm.name) == ("source.spm", "target.spm")
    assert profile.languages == ("source", "target")


@pytest.mark.parametrize(
    "text, source, target",
    [
        # NLLB as older code wrote it
        ("{profile: nllb, source_prefix: '', source_suffix: '</s> {source_lang}'}", "… </s> en_XX", "ro_RO"),
        # --encoder-langtok tgt
        ("{profile: fairseq-multilingual, source_prefix: '__{target_lang}__'}", "__ro_RO__ … </s>", "__ro_RO__"),
        # MADLAD-400
        ("{source_spm: spm.model, source_prefix: '<2{target_lang}>', source_suffix: '</s>'}", "<2ro_RO> … </s>", ""),
    ],
)
def test_tags_of_a_file(text: str, source: str, target: str, model: Path, tmp_path: Path) -> None:
    for given, content in [
        (Given("en_XX", "ro_RO"), text),
        (Given(), f"{text[:-1]}, source_lang: en_XX, target_lang: ro_RO}}"),
    ]:
        profile = read_profile(written(tmp_path, content), model, given)
        assert " ".join([*profile.source_prefix, "…", *profile.source_suffix]) == source
        assert " ".join(profile.target_prefix) == target
    other = read_profile(written(tmp_path, content), model, Given(target_lang="de_DE"))
    assert other.languages == ("en_XX", "de_DE")


def test_sentencepiece_models_lie_beside_the_file_or_in_the_models_folder(model: Path, tmp_path: Path) -> None:
    name = written(tmp_path, "source_spm: source.spm\ntarget_spm: own.model\n")
    (tmp_path / "own.model").touch()
    profile = read_profile(name, model)
    assert (profile.source_spm, profile.target_spm) == (model / "source.spm", tmp_path / "own.model")
    assert read_profile(written(tmp_path, "source_spm: source.spm\n"), model).target_spm == model / "source.spm"
    given = Given(source_spm=Path("a.model"), target_spm=Path("b.model"))
    profile = read_profile(name, model, given)
    assert (profile.source_spm, profile.target_spm) == (Path("a.model"), Path("b.model"))


@pytest.mark.parametrize(
    "text, told",
    [
        (None, r"profile .*mine.yaml: no such file; give a YAML file or one of fairseq-multilingual, m2m100"),
        ("a: [", r"profile .*mine.yaml: cannot be read as YAML"),
        ("", r"profile .*mine.yaml: holds no keys"),
        ("target_spm: target.spm", r"profile .*mine.yaml: source_spm is missing"),
        (
            "source_spm: none.spm",
            r"mine.yaml: source_spm: there is no sentencepiece model none.spm in .*; give --spm-model",
        ),
        ("{source_spm: source.spm, target_spm: none}", r"target_spm: there is no sentencepiece model none in"),
        (
            "{source_spm: source.spm, tgt_prefix: x}",
            r"mine.yaml: there is no key 'tgt_prefix'; the keys are profile, needs",
        ),
        ("{source_spm: source.spm, casing: upper}", r"mine.yaml: casing: 'upper'; choose from keep, lower"),
        ("{profile: nlb}", r"mine.yaml: profile: 'nlb' is no ready profile; choose from fairseq-multilingual"),
        ("{profile: m2m100, source_lang: no, target_lang: de}", r"source_lang: False is no text; put it into quotes"),
        (
            "{source_spm: source.spm, target_prefix: '{target}'}",
            r"target_prefix: '{target}': braces are for {source_lang}",
        ),
        ("{source_spm: source.spm, target_prefix: '{'}", r"mine.yaml: target_prefix: '{': braces are for"),
        ("{source_spm: source.spm, needs: target_lang}", r"mine.yaml: needs: give languages with an example each"),
    ],
)
def test_mistakes_in_a_file(text: str | None, told: str, model: Path, tmp_path: Path) -> None:
    name = str(tmp_path / "mine.yaml") if text is None else written(tmp_path, text)
    with pytest.raises(UserError, match=told) as error:
        read_profile(name, model)
    assert "\n" not in str(error.value)

"""How a model of another maker takes text: sentencepiece models, tags, casing. This module imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_kd.errors import UserError
from fairseq_kd.storage.shapes import anything
from fairseq_kd.storage.structured import Unreadable, read_yaml

BESIDE = "fairseq_kd.yaml"
"""The name of a profile that lies in the model's folder."""

READY = tuple(sorted(path.stem for path in Path(__file__).with_name("profiles").glob("*.yaml")))
"""Names of the ready profiles."""

CASINGS = ("keep", "lower")
LANGUAGES = ("source_lang", "target_lang")
TAGS = ("source_prefix", "source_suffix", "target_prefix")
KEYS = ("profile", "needs", *LANGUAGES, "source_spm", "target_spm", *TAGS, "casing")


@dataclass(frozen=True)
class Profile:
    """How lines become the model's tokens, and tokens lines.

    Attributes:
        origin: where the profile comes from, for errors.
        languages: of the source and of the target, as the profile writes them.
        source_spm: the sentencepiece model that cuts sources.
        target_spm: the sentencepiece model that joins translations.
        source_prefix: tokens before a source's pieces.
        source_suffix: tokens after them, ``</s>`` among them where the model's sources end in it.
        target_prefix: tokens that every translation starts with; they are given to the model and no part of the text.
        casing: one of :data:`CASINGS`; "lower": sources are put into lower case before they are cut.
        left_out: templates of tokens that have no place in these, as their language is not given.
    """

    origin: str
    languages: tuple[str, str]
    source_spm: Path
    target_spm: Path
    source_prefix: tuple[str, ...] = ()
    source_suffix: tuple[str, ...] = ()
    target_prefix: tuple[str, ...] = ()
    casing: str = "keep"
    left_out: tuple[str, ...] = ()

    def tags(self) -> dict[str, tuple[str, ...]]:
        """The tokens that the profile adds, by key."""
        return {key: getattr(self, key) for key in TAGS}


@dataclass(frozen=True)
class Given:
    """What a person gives beside a profile; None: the profile's value holds.

    Attributes:
        source_lang: the source language as the model's tags write it.
        target_lang: the target language.
        source_spm: the sentencepiece model that cuts sources.
        target_spm: the sentencepiece model that joins translations.
    """

    source_lang: str | None = None
    target_lang: str | None = None
    source_spm: Path | None = None
    target_spm: Path | None = None


def read_profile(name: str, folder: Path, given: Given = Given()) -> Profile:
    """Read a profile. Its sentencepiece models lie beside the file or in the model's folder.

    Args:
        name: one of :data:`READY`, or the path of a YAML file.
        folder: the model's.
        given: what goes before the file's own values.

    Raises:
        UserError: the file is missing or no profile, a key is missing or unknown, or a sentencepiece model is missing.
    """
    values = _values(name)
    origin = f"profile {name}"
    languages = {key: getattr(given, key) or values.get(key) or "" for key in LANGUAGES}
    for key, example in values.get("needs", {}).items():
        if not languages[key]:
            option = f"--{key.replace('_', '-')}"
            raise UserError(f"{origin}: {key} is missing; give {option} as the model writes it: {option} {example}")
    if not (given.source_spm or values.get("source_spm")):
        raise UserError(f"{origin}: source_spm is missing: the sentencepiece model that cuts the sources")
    places = [folder] if name in READY else [Path(name).parent, folder]
    source = given.source_spm or _existing(values["source_spm"], places, f"{origin}: source_spm")
    target = given.target_spm or source
    if not given.target_spm and values.get("target_spm"):
        target = _existing(values["target_spm"], places, f"{origin}: target_spm")
    templates = [token for key in TAGS for token in (values.get(key) or "").split()]
    return Profile(
        origin,
        (languages["source_lang"] or "source", languages["target_lang"] or "target"),
        source,
        target,
        **{key: _tokens(values.get(key) or "", languages) for key in TAGS},
        casing=values.get("casing") or "keep",
        left_out=tuple(token for token in templates if not _tokens(token, languages)),
    )


def _values(name: str) -> dict[str, Any]:
    """The keys of a profile, those of the ready profile that it names among them."""
    if name in READY:
        return _load(Path(__file__).with_name("profiles") / f"{name}.yaml")
    values = _load(Path(name))
    base = values.pop("profile", None)
    if base is None:
        return values
    if base not in READY:
        raise UserError(f"profile {name}: profile: {base!r} is no ready profile; choose from {', '.join(READY)}")
    return _values(base) | values


def _load(path: Path) -> dict[str, Any]:
    origin = f"profile {path}"
    try:
        values = read_yaml(path, anything)
    except FileNotFoundError:
        raise UserError(f"{origin}: no such file; give a YAML file or one of {', '.join(READY)}") from None
    except (OSError, Unreadable) as error:
        raise UserError(f"{origin}: cannot be read as YAML ({error})") from None
    if not isinstance(values, dict) or not values:
        raise UserError(f"{origin}: holds no keys; it needs source_spm or the name of a ready profile")
    for key, value in values.items():
        _check(origin, key, value)
    return values


def _check(origin: str, key: Any, value: Any) -> None:
    if key not in KEYS:
        raise UserError(f"{origin}: there is no key {key!r}; the keys are {', '.join(KEYS)}")
    if key == "needs":
        good = isinstance(value, dict) and all(k in LANGUAGES and isinstance(v, str) for k, v in value.items())
        if not good:
            raise UserError(f"{origin}: needs: give languages with an example each: {{target_lang: deu_Latn}}")
    elif value is not None and not isinstance(value, str):
        # Norwegian's "no" is a truth value in YAML.
        raise UserError(f"{origin}: {key}: {value!r} is no text; put it into quotes")
    elif key == "casing" and value not in CASINGS:
        raise UserError(f"{origin}: casing: {value!r}; choose from {', '.join(CASINGS)}")
    elif key in TAGS:
        _tokens(value or "", dict.fromkeys(LANGUAGES, "x"), f"{origin}: {key}")


def _tokens(template: str, languages: dict[str, str], origin: str = "") -> tuple[str, ...]:
    """The tokens of a template such as ``__{source_lang}__``; one whose language is not given is left out."""
    tokens = []
    for token in template.split():
        try:
            filled = token.format(**{key: value or "\0" for key, value in languages.items()})
        except (KeyError, IndexError, ValueError):
            raise UserError(f"{origin}: {token!r}: braces are for {{source_lang}} and {{target_lang}}") from None
        if "\0" not in filled:
            tokens.append(filled)
    return tuple(tokens)


def _existing(name: str, places: list[Path], origin: str) -> Path:
    for place in places:
        if (place / name).is_file():
            return place / name
    looked = " and ".join(dict.fromkeys(map(str, places)))
    raise UserError(f"{origin}: there is no sentencepiece model {name} in {looked}; give --spm-model")

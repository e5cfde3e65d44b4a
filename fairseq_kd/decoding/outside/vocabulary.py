"""The tokens that a CTranslate2 model knows, and whether a profile's are among them."""

import difflib
import logging
import re
from pathlib import Path

from fairseq_kd.decoding.outside.profile import Profile
from fairseq_kd.errors import UserError
from fairseq_kd.storage.shapes import list_of, text
from fairseq_kd.storage.structured import read_json

logger = logging.getLogger(__name__)


def read_vocabularies(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The tokens of a CTranslate2 model's sources and targets.

    Raises:
        UserError: the files are missing or damaged.
    """
    shared = _tokens(folder, "shared_vocabulary")
    if shared is not None:
        return shared, shared
    source, target = _tokens(folder, "source_vocabulary"), _tokens(folder, "target_vocabulary")
    if source is None or target is None:
        raise UserError(f"{folder}: has neither shared_vocabulary.json nor source_ and target_vocabulary.json")
    return source, target


def _tokens(folder: Path, name: str) -> frozenset[str] | None:
    """The lines of ``name``.txt, or the strings of ``name``.json; None: there is neither."""
    lines, strings = folder / f"{name}.txt", folder / f"{name}.json"
    try:
        if strings.is_file():
            return frozenset(read_json(strings, list_of(text), ours=False))
        if lines.is_file():
            return frozenset(lines.read_text(encoding="utf-8").split("\n"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: {name} cannot be read ({error})") from None
    return None


def check_tags(profile: Profile, source: frozenset[str], target: frozenset[str]) -> None:
    """Check that the model knows the tokens that a profile adds, and warn of those that it should add.

    Raises:
        UserError: it lacks one; the message names it and the model's nearest tokens.
    """
    for key, tokens in profile.tags().items():
        known = target if key == "target_prefix" else source
        for token in tokens:
            if token not in known:
                near = difflib.get_close_matches(token, [one for one in known if one[:1] == token[:1]], cutoff=0.7)
                hint = f"; near are {', '.join(near)}" if near else "; is the profile the model's?"
                raise UserError(f"{profile.origin}: {key}: the model's vocabulary has no {token!r}{hint}")
    for template in profile.left_out:
        shape = re.sub(r"\\\{(source|target)_lang\\\}", ".+", re.escape(template))
        tags = sorted(token for token in source if re.fullmatch(shape, token))
        if tags:
            option = "--target-lang" if "{target_lang}" in template else "--source-lang"
            logger.warning(
                "%s: the model knows %d tags such as %s; give one's language as %s, or the model chooses a language",
                *(profile.origin, len(tags), tags[0], option),
            )

"""Write the reference pages from the code: `python docs/make_reference.py`.

commands.md comes from the parsers of `fairseq-kd`, options.md from the plugin's dataclasses, scripts.md from the
manuals in the scripts, and api/ from the folders of the package. A test fails where a page and the code differ.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

REFERENCE = ROOT / "docs" / "reference"
NOTE = "<!-- Made by `python docs/make_reference.py`. Change the code, not this page. -->\n\n"
WINGS = {
    "judge": ("benchmark", "study", "diagnose", "report", "evaluate"),
    "make": ("compress", "corpus", "decoding"),
    "learn": ("criterions", "tasks", "networks", "data", "gates", "losses"),
    "ground": ("storage", "timing"),
}
"""The rooms of each wing, the upper wing first. A room imports its own wing and the wings below."""


def pages() -> dict[Path, str]:
    """All generated pages: path to text."""
    made = {
        REFERENCE / "commands.md": commands_page(),
        REFERENCE / "options.md": options_page(),
        REFERENCE / "scripts.md": scripts_page(),
    }
    return made | {REFERENCE / "api" / f"{wing}.md": api_page(wing, rooms) for wing, rooms in WINGS.items()}


def verb_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb of `fairseq-kd`, by the verb's name."""
    from fairseq_kd.cli.command_line import build_parser

    actions = build_parser()._actions
    subparsers = next(action for action in actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


def commands_page() -> str:
    """Every verb of `fairseq-kd` with its options."""
    lines = ["# Commands", "", "`fairseq-kd VERB --help` prints the same in a terminal.", ""]
    parsers = verb_parsers()
    lines += ["| verb | what it does |", "| --- | --- |"]
    lines += [f"| [`{verb}`](#{verb}) | {cell(parser.description)} |" for verb, parser in parsers.items()]
    shown = [[action for action in parser._actions if action.dest != "help"] for parser in parsers.values()]
    shared = [one for one in shown[0] if all(one.help in {other.help for other in others} for others in shown)]
    if shared:
        lines += ["", "Every verb also takes:", "", *option_table(argparse.ArgumentParser(), shared)]
    for (verb, parser), own in zip(parsers.items(), shown, strict=True):
        lines += ["", f"## {verb}", "", str(parser.description), ""]
        actions = [action for action in own if action.help not in {one.help for one in shared}]
        lines += option_table(parser, actions) if actions else ["It takes no options."]
    return NOTE + "\n".join(lines) + "\n"


def plugin_parsers() -> dict[str, list[argparse.Action]]:
    """The options that the plugin adds to fairseq-train, by the heading under which they stand."""
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, CRITERION_REGISTRY
    from fairseq.dataclass.utils import gen_parser_from_dataclass
    from fairseq.tasks.translation import TranslationConfig

    import fairseq_kd
    from fairseq_kd.criterions.base import FusedConfig
    from fairseq_kd.tasks.translation_kd import TranslationKDConfig

    fairseq_kd.register()

    def actions(config: Any) -> list[argparse.Action]:
        parser = argparse.ArgumentParser(add_help=False)
        gen_parser_from_dataclass(parser, config())
        return parser._actions

    def added(config: Any, base: Any) -> list[argparse.Action]:
        """The options of ``config`` that ``base`` lacks, or has with another default."""
        known = {(action.dest, str(action.default)) for action in actions(base)}
        return [action for action in actions(config) if (action.dest, str(action.default)) not in known]

    found = {
        "Task translation_kd": added(TranslationKDConfig, TranslationConfig),
        "Every criterion": actions(FusedConfig),
    }
    # A process may have criterions of others, which build on the plugin's.
    names = [name for name, one in CRITERION_REGISTRY.items() if one.__module__.startswith("fairseq_kd.")]
    own = {name: one for name in names if issubclass(one := CRITERION_DATACLASS_REGISTRY[name], FusedConfig)}
    found |= {f"Criterion {name}": added(one, FusedConfig) for name, one in sorted(own.items())}
    return found


def options_page() -> str:
    """Every option that the plugin adds to fairseq-train."""
    lines = [
        "# Options of the task and the criterions",
        "",
        "These options belong to `fairseq-train`, called with the plugin:",
        "",
        "```bash",
        'fairseq-train DATABIN --user-dir "$(fairseq-kd user-dir)" --task translation_kd --criterion token_kd …',
        "```",
        "",
        "`scripts/train.sh` adds `--user-dir` itself. The task also takes every option of fairseq's `translation`.",
        "The formulas are on the pages about the [methods](../index.md#the-methods).",
    ]
    for heading, actions in plugin_parsers().items():
        lines += ["", f"## {heading}", ""]
        lines += option_table(argparse.ArgumentParser(), actions) if actions else ["It has no options besides these."]
    return NOTE + "\n".join(lines) + "\n"


def option_table(parser: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> list[str]:
    """A Markdown table of options: name, default, meaning."""
    lines = ["| option | default | meaning |", "| --- | --- | --- |"]
    for action in actions:
        lines.append(f"| {shown_name(action)} | {shown_default(action)} | {shown_help(parser, action)} |")
    return lines


def shown_name(action: argparse.Action) -> str:
    """The option as it is typed, with the name of its value."""
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    if action.nargs == 0:
        return f"`{action.option_strings[-1]}`"
    by_type = {int: "N", float: "X"}.get(action.type, action.dest.rsplit("_", 1)[-1].upper())  # type: ignore[arg-type]
    value = action.metavar or ("" if action.choices else by_type)
    shown = f"`{action.option_strings[-1]} {value}`".replace(" `", "`")
    return shown.replace("|", r"`\|`")  # GitHub ends a cell there; the site shows a backslash within code


def shown_default(action: argparse.Action) -> str:
    """The default; "required" where there is none, empty for a switch."""
    if action.required and action.option_strings:
        return "required"
    without = (None, False, "", argparse.SUPPRESS)
    if any(action.default is one for one in without) or action.default == [] or not action.option_strings:
        return ""
    default = " ".join(map(str, action.default)) if isinstance(action.default, (list, tuple)) else action.default
    return f"`{default}`"


def shown_help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text without the default that it may repeat, and the choices."""
    repeated = rf" \(((default|[A-Z]):? )?(%\(default\)s|{re.escape(str(action.default))})\)$"
    text = re.sub(repeated, "", action.help or "")
    text = parser._get_formatter()._expand_help(_with_help(action, text))
    if action.choices:
        text += f"; one of {', '.join(f'`{choice}`' for choice in action.choices)}"
    return cell(text)


def _with_help(action: argparse.Action, text: str) -> argparse.Action:
    copied = argparse.Action([], action.dest, default=action.default, help=text, metavar=action.metavar)
    copied.type, copied.choices, copied.nargs = action.type, None, action.nargs
    return copied


def cell(text: str | None) -> str:
    """Text that a Markdown table shows as it is."""
    shown = text or ""
    for character in ("|", "<", "*"):
        shown = shown.replace(character, "\\" + character)
    return shown


def scripts_page() -> str:
    """The manual of each stage script: the comment at its top, which `--help` prints."""
    lines = ["# Scripts", "", "`bash scripts/NAME.sh --help` prints the same in a terminal."]
    for path in sorted((ROOT / "scripts").glob("*.sh")):
        if path.name not in ("common.sh", "raw_text.sh"):
            lines += ["", f"## {path.name}", "", "```text", *manual(path.read_text(encoding="utf-8")), "```"]
    return NOTE + "\n".join(lines) + "\n"


def manual(script: str) -> list[str]:
    """The comment between the first line of a script and its first command."""
    lines = []
    for line in script.splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return lines


def api_page(wing: str, rooms: Iterable[str]) -> str:
    """The page of one wing: mkdocstrings fills in what each module's docstrings say."""
    lines = [f"# API: the wing {wing}"]
    for room in rooms:
        package = ROOT / "fairseq_kd" / room
        lines += ["", f"## {room}", "", f"::: fairseq_kd.{room}"]
        for path in sorted(package.rglob("*.py")):
            if path.name != "__init__.py":
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                lines += ["", f"### {module.removeprefix('fairseq_kd.')}", "", f"::: {module}"]
    return NOTE + "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))

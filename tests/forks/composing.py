"""What hydra makes of fairseq's options, without beginning from nothing each time.

hydra takes 0.4 to 0.8 s of processor time to compose one training's configuration: it parses some 270 overrides and
assembles the groups that were chosen. Tests build hundreds of configurations, from few choices of groups. So each
override is parsed once, the default configuration is assembled once, and choices and values are set on a copy of it.
``pytest --no-fork`` does without this.
"""

import copy
from collections.abc import Callable
from typing import Any

import hydra
from fairseq.dataclass import utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

hydra_compose: Callable[..., Any] = utils.compose
parse_rule = OverridesParser.parse_rule
parsed: dict[str, Override] = {}
assembled: dict[str, Any] = {}
QUICK = not hydra.__version__.startswith("1.0.")
"""hydra 1.0, on which fairseq 0.12.2 depends, puts a group's members together in another way."""


def parse_once(self: OverridesParser, text: str, rule: str) -> Any:
    """hydra's parser of one override; a copy of what it gave for this text before."""
    if rule != "override":
        return parse_rule(self, text, rule)
    if text not in parsed:
        parsed[text] = parse_rule(self, text, rule)
    return copy.copy(parsed[text])


def is_choice(override: str) -> bool:
    """Whether an override chooses a group's member, as in ``task=translation``, and sets no value."""
    return "." not in override.partition("=")[0]


def compose(config_name: str, overrides: list[str], strict: bool | None = None) -> Any:
    """What hydra's function of this name gives."""
    if config_name not in assembled:
        assembled[config_name] = hydra_compose(config_name)
    config = copy.deepcopy(assembled[config_name])
    OmegaConf.set_struct(config, True)
    repository = ConfigStore.instance().repo
    for group, name in (choice.split("=") for choice in overrides if is_choice(choice)):
        config[group] = copy.deepcopy(repository[group][f"{name}.yaml"].node)
    values = OverridesParser.create().parse_overrides([one for one in overrides if not is_choice(one)])
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    if strict is not None:
        OmegaConf.set_struct(config, strict)
    return config


def compose_quickly(quickly: bool) -> None:
    """Let fairseq compose in this way from now on, or as its users do."""
    utils.compose = compose if quickly and QUICK else hydra_compose
    OverridesParser.parse_rule = parse_once if quickly and QUICK else parse_rule  # type: ignore[method-assign]

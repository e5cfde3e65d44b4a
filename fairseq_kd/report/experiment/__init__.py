"""An experiment's YAML, as configs/*.yaml describe it."""

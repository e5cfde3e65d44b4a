"""Call one function in a process of its own: ``python -m fairseq_kd.timing.call MODULE:FUNCTION JSON``.

The JSON object holds the function's keyword arguments. The last line printed is what the function returns, as JSON.
"""

import importlib
import json
import logging
import sys
from typing import Any


def call_by_name(function: str, arguments: dict[str, Any]) -> Any:
    """What ``package.module:function`` returns for these keyword arguments.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such function.
    """
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(call_by_name(sys.argv[1], json.loads(sys.argv[2]))))

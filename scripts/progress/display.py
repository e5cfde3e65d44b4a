"""Progress for people: live lines on a terminal, plain lines elsewhere."""

import sys

from workflow_log import Workflow


class Plain:
    """Progress where there is no terminal: lines as things happen."""

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, ended: bool, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def show(self, workflow: Workflow) -> None:
        """Nothing between the lines."""


class Live(Plain):
    """Progress on a terminal: a line for each running step, below the lines of those that have ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Display

        self.display = Display(console=Console(stderr=True), refresh_per_second=4, transient=True)

    def __enter__(self) -> "Live":
        self.display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.display.stop()

    def tell(self, ended: bool, line: str) -> None:
        if ended:
            self.display.console.print(line, markup=False, highlight=False)

    def show(self, workflow: Workflow) -> None:
        from rich.text import Text

        lines = [f"{workflow.title(step)}: {step.state()}" for step in workflow.running.values()]
        lines += [] if workflow.total else ["planning the steps"]
        self.display.update(Text("\n".join(lines), overflow="ellipsis", no_wrap=True))

"""The options of :func:`fairseq_kd.benchmark.gpu.check.check`; `scripts/gpu_check.sh` is the caller."""

import argparse
import logging
import sys
from pathlib import Path

from fairseq_kd.benchmark.gpu import PARTS
from fairseq_kd.storage.files import one_line_errors


def main() -> int:
    """Check, print the Markdown; the exit status is 1 where a path failed."""
    parser = argparse.ArgumentParser(prog="gpu_check", allow_abbrev=False)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("model", nargs="*", metavar="TEACHER DATABIN")
    options = parser.parse_args()
    if len(options.model) not in (0, 2):
        parser.error("give the teacher and its data-bin, or neither")
    logging.disable(logging.WARNING)  # fairseq's and matplotlib's own, when they are imported
    from fairseq_kd.benchmark.gpu.check import check
    from fairseq_kd.benchmark.gpu.markdown import markdown

    teacher, data = options.model or (None, None)
    table = check(options.output, teacher, data, dry_run=options.dry_run, parts=options.only or PARTS)
    print(markdown(table))
    failed = [line["name"] for line in table.get("paths", []) if not line["ok"]]
    if failed:
        print(f"gpu_check: error: {len(failed)} paths failed: {'; '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())

"""`python -m fairseq_kd.cli` is `fairseq-kd`."""

from fairseq_kd.cli import main

main()

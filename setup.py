"""Package metadata. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="fairseq-kd",
    version="0.1.0",
    description="Knowledge distillation for sequence-to-sequence models: a fairseq plugin",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["fairseq_kd", "fairseq_kd.*"]),
    python_requires=">=3.11,<3.13",
    # torch 2.4 is the first that can load a fairseq checkpoint without running the code in its pickle
    # (torch.serialization.add_safe_globals).
    install_requires=[
        "torch>=2.4",
        "fairseq-fixed==0.12.3.1",
        "ctranslate2>=4.5",
        "sacrebleu>=2.4",
        "sentencepiece>=0.2",
        "matplotlib>=3.8",
        "tqdm>=4.66",
    ],
    extras_require={
        "workflow": ["snakemake>=9,<10", "snakemake-executor-plugin-slurm"],
        "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ruff>=0.8", "mypy>=1.13", "types-tqdm"],
    },
    entry_points={"console_scripts": ["fairseq-kd=fairseq_kd.cli:main"]},
)

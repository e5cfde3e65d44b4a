"""Put scripts/ and configs/ into the wheel, inside the package; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("scripts", "configs")


class BuildWithScripts(build_py):
    """An installed package has fairseq_kd/scripts and fairseq_kd/configs; a clone has them beside fairseq_kd/."""

    def run(self):
        super().run()
        if not self.editable_mode:  # it uses the clone's
            for source, target in self.bundled():
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))

    def bundled(self):
        """Each file of the two folders with its place in the wheel."""
        for folder in FOLDERS:
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield path, Path(self.build_lib, "fairseq_kd", path)

    def get_outputs(self, include_bytecode=1):
        return super().get_outputs(include_bytecode) + [str(target) for _, target in self.bundled()]


setup(cmdclass={"build_py": BuildWithScripts})

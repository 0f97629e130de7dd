"""A root file system to install into: this machine's under an overlay that is gone afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = "/src"  # inside: a copy of this program, free to be changed
COPIED = [
    "control",
    "drivers",
    "firmware",
    "hil",
    "models",
    "examples",
    "docs",
    "systemd",
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "install.sh",
]
PATH = "/stubs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNTS = """
mount --make-rprivate / &&
mount -t tmpfs tmpfs "$1" &&
mkdir "$1/upper" "$1/work" "$1/root" &&
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root" &&
mkdir -p "$1/root/dev" "$1/root/proc" "$1/root/host-venv" &&
mount --rbind /dev "$1/root/dev" &&
mount -t tmpfs tmpfs "$1/root/proc" &&
mount --bind "$3" "$1/root/host-venv" &&
echo ready && exec sleep infinity
"""


class NoFakeRoot(Exception):
    """This machine does not allow one; the message says why."""


@dataclass(frozen=True)
class FakeRoot:
    """A chroot in a mount namespace of its own."""

    pid: int  # of the process that holds the namespace
    inside: Path  # as seen from outside, through that process

    def path(self, name: str) -> Path:
        """Where a file of the chroot is for us. Do not follow absolute symbolic links there."""
        return self.inside / name.lstrip("/")

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the chroot."""
        inherited = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        settings = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"} | inherited | environment
        enter = ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "chroot", str(self._root)]
        words = [f"{name}={value}" for name, value in settings.items()]
        return subprocess.run(
            [*enter, "env", "-i", *words, *command], capture_output=True, text=True, check=False
        )

    @property
    def _root(self) -> Path:
        return Path("/") / self.inside.relative_to(f"/proc/{self.pid}/root")

    def install(self, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the installer there."""
        return self.run(f"{SOURCE}/install.sh", *options, **environment)


@contextmanager
def fake_root(folder: Path, lower: Path, venv: Path) -> Iterator[FakeRoot]:
    """Yield a root over `lower` with the program in SOURCE; raises NoFakeRoot."""
    if os.geteuid() != 0:
        raise NoFakeRoot("needs root, for a file system to install into")
    missing = [tool for tool in ("unshare", "nsenter", "chroot") if shutil.which(tool) is None]
    if missing:
        raise NoFakeRoot(f"{', '.join(missing)} not found")
    script = ["bash", "-c", MOUNTS, "mounts", str(folder), str(lower), str(venv)]
    holder = subprocess.Popen(
        ["unshare", "-m", *script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != "ready\n":
            raise NoFakeRoot(f"no overlay file system: {holder.stderr.read().strip()}")
        root = FakeRoot(holder.pid, Path(f"/proc/{holder.pid}/root{folder}/root"))
        _copy_program(root.path(SOURCE))
        yield root
    finally:
        holder.kill()
        holder.communicate()


def _copy_program(target: Path) -> None:
    target.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, target / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, target / name)

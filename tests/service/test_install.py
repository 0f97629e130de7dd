"""install.sh: into a fake root, with stand-ins for apt and pip; or for good, into a Debian root.

The latter takes a minute and the network: NANOGRID_DEBIAN_ROOT names a folder made by
`debootstrap --variant=minbase --include=ca-certificates bookworm FOLDER`. It is not changed.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.fake_root import ROOT, SOURCE, FakeRoot, NoFakeRoot, fake_root

SCRIPT = ROOT / "install.sh"
SITE = "/etc/nanogrid/site.toml"
CURRENT = "/opt/nanogrid/current"
UNIT = "/etc/systemd/system/nanogrid.service"
APT = """#!/bin/sh
echo "apt-get $*" >>/calls
"""
# A virtual environment whose pip "installs" by pointing at the host's; not while /offline exists.
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec /host-venv/bin/python "$@"
mkdir -p "$3/bin"
cat >"$3/bin/pip" <<EOF
#!/bin/sh
echo "pip \\$*" >>/calls
[ ! -e /offline ] || { echo "no network" >&2; exit 1; }
cat >$3/bin/nanogrid <<END
#!/bin/sh
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$3/../program exec /host-venv/bin/python -m firmware "\\\\\\$@"
END
chmod +x $3/bin/nanogrid
EOF
chmod +x "$3/bin/pip"
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[FakeRoot]:
    """This machine, as far as the installer can tell; nothing of it is changed."""
    try:
        with fake_root(tmp_path, Path("/"), Path(sys.prefix)) as made:
            stubs = made.path("/stubs")
            stubs.mkdir()
            for name, text in (("apt-get", APT), ("python3", PYTHON)):
                (stubs / name).write_text(text)
                (stubs / name).chmod(0o755)
            for folder in Path(sys.executable).resolve().parents:  # some Pythons live in /root
                made.path(str(folder)).chmod(0o755)
            yield made
    except NoFakeRoot as problem:
        pytest.skip(str(problem))


def contents(root: FakeRoot) -> dict[str, tuple[object, ...]]:
    """Everything the installer can have made: kind and mode, owner, content."""
    found: dict[str, tuple[object, ...]] = {}
    for top in ("/opt/nanogrid", "/etc/nanogrid", "/var/lib/nanogrid", "/etc/systemd/system",
                "/usr/local/bin", "/etc/passwd", "/etc/group"):  # fmt: skip
        start = root.path(top)
        for path in [start, *start.rglob("*")]:
            if "__pycache__" in path.parts:
                continue
            about = path.lstat()
            data: object = None
            if stat.S_ISLNK(about.st_mode):
                data = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                data = path.read_bytes()
            found[f"/{path.relative_to(root.inside)}"] = (
                about.st_mode, about.st_uid, about.st_gid, data,
            )  # fmt: skip
    return found


def release(root: FakeRoot) -> str:
    """What is in use."""
    return os.readlink(root.path(CURRENT))


def change_program(root: FakeRoot) -> None:
    with root.path(f"{SOURCE}/README.md").open("a") as file:
        file.write("A new version.\n")


def use_own_site(root: FakeRoot) -> str:
    site = root.path(SITE)
    site.write_text(site.read_text().replace("clinic-01", "my-own"))
    return site.read_text()


def test_twice_gives_the_same(root: FakeRoot) -> None:
    first = root.install()
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"{SITE}: valid. clinic-01" in first.stdout
    assert "not started" in first.stdout
    assert "systemctl enable --now nanogrid" in first.stdout
    after_first = contents(root)
    second = root.install()
    assert second.returncode == 0, second.stdout + second.stderr
    assert contents(root) == after_first
    assert root.path(UNIT).read_bytes() == (ROOT / "systemd/nanogrid.service").read_bytes()
    groups = root.run("id", "-nG", "nanogrid").stdout.split()
    assert {"nanogrid", "dialout"} <= set(groups)
    assert not root.path("/etc/systemd/system/multi-user.target.wants/nanogrid.service").exists()


def test_the_first_site_file_has_a_memory_and_a_socket_where_the_unit_allows_them(
    root: FakeRoot,
) -> None:
    result = root.install()
    site = tomllib.loads(root.path(SITE).read_text())
    assert site["store"] == {"path": "/var/lib/nanogrid/state.db"}
    assert site["local"] == {"socket": "/run/nanogrid/nanogrid.sock"}
    example = tomllib.loads((ROOT / "examples/site.toml").read_text())
    assert site | {"store": {}, "local": {}} == example
    for hint in ("[web] port", "[mqtt] host", "nanogrid status", "--probe"):
        assert hint in result.stdout


@pytest.mark.parametrize(("version", "there"), [("252 (252.39-1)", False), ("257 (257.7)", True)])
def test_pauses_between_restarts_grow_where_systemd_can(
    root: FakeRoot, version: str, there: bool
) -> None:
    stub = root.path("/stubs/systemctl")
    stub.write_text(f"#!/bin/sh\necho 'systemd {version}'\n")
    stub.chmod(0o755)
    assert root.install().returncode == 0
    drop_in = root.path(f"{UNIT}.d/back-off.conf")
    assert drop_in.exists() is there
    assert root.install("--uninstall").returncode == 0
    assert not drop_in.parent.exists()


def test_others_cannot_read_the_site_and_the_service_can_write_only_its_state(
    root: FakeRoot,
) -> None:
    root.install()
    assert stat.S_IMODE(root.path(SITE).stat().st_mode) == 0o640
    assert stat.S_IMODE(root.path("/etc/nanogrid").stat().st_mode) == 0o750
    who = ["runuser", "-u", "nanogrid", "--"]
    for path in ("/etc/nanogrid", "/opt/nanogrid", f"{CURRENT}/program"):
        assert root.run(*who, "test", "-w", path).returncode != 0, path
    assert root.run(*who, "test", "-w", "/var/lib/nanogrid").returncode == 0


def test_a_copy_that_only_its_owner_can_read_is_installed_for_all(root: FakeRoot) -> None:
    root.run("chmod", "-R", "go=", SOURCE)
    assert root.install().returncode == 0


def test_an_own_site_file_survives_an_update(root: FakeRoot) -> None:
    root.install()
    before, mine = release(root), use_own_site(root)
    change_program(root)
    result = root.install()
    assert result.returncode == 0, result.stderr
    assert root.path(SITE).read_text() == mine
    assert "valid. my-own" in result.stdout
    assert release(root) != before
    assert [path.name for path in root.path("/opt/nanogrid/releases").iterdir()] == [
        Path(release(root)).name
    ]


def test_without_network_the_version_before_stays_and_the_next_try_works(root: FakeRoot) -> None:
    root.path("/offline").touch()
    result = root.install()
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("install.sh: pip could not install")
    assert not root.path(CURRENT).is_symlink()
    root.path("/offline").unlink()
    assert root.install().returncode == 0
    before = release(root)
    change_program(root)
    root.path("/offline").touch()
    assert root.install().returncode == 1
    assert release(root) == before
    assert root.run("nanogrid", "check", "--config", SITE).returncode == 0
    root.path("/offline").unlink()
    assert root.install().returncode == 0
    assert release(root) != before


def test_a_version_that_the_site_file_does_not_suit_is_not_put_into_use(root: FakeRoot) -> None:
    root.install()
    before = release(root)
    root.path(SITE).write_text(use_own_site(root).replace("latitude_deg", "latitude"))
    change_program(root)
    result = root.install()
    assert result.returncode == 1
    assert f"{SITE}: site.latitude" in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"install.sh: {SITE} does not suit")
    assert release(root) == before


def test_only_a_raspberry_pi_gets_modules_that_need_a_compiler(root: FakeRoot) -> None:
    root.install()
    calls = root.path("/calls").read_text()
    assert "[pi]" not in calls
    assert " gcc" not in calls
    root.path("/proc/device-tree").mkdir()
    root.path("/proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.5\0")
    result = root.install()
    assert result.returncode == 0, result.stderr
    assert "compiled here" in result.stdout
    assert "program[pi]" in root.path("/calls").read_text()
    assert root.path("/etc/systemd/system.conf.d/nanogrid-watchdog.conf").exists()


def test_uninstalling_keeps_the_site_and_its_data(root: FakeRoot) -> None:
    root.install()
    mine = use_own_site(root)
    root.path("/var/lib/nanogrid/state.db").write_text("precious")
    for _ in range(2):
        result = root.install("--uninstall")
        assert result.returncode == 0, result.stderr
    assert root.path(SITE).read_text() == mine
    assert root.path("/var/lib/nanogrid/state.db").read_text() == "precious"
    for gone in ("/opt/nanogrid", UNIT, "/usr/local/bin/nanogrid"):
        assert not os.path.lexists(root.path(gone)), gone
    assert root.install().returncode == 0
    assert root.path(SITE).read_text() == mine


def test_a_copy_with_something_missing_is_refused_before_anything_is_changed(
    root: FakeRoot,
) -> None:
    shutil.rmtree(root.path(f"{SOURCE}/models"))
    result = root.install()
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"{SOURCE}/models is missing" in result.stderr
    assert not root.path("/etc/nanogrid").exists()


def script(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", str(SCRIPT), *options], capture_output=True, text=True)


def test_it_is_a_bash_script() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True).stderr == b""
    assert os.access(SCRIPT, os.X_OK)


def test_help_names_every_option_and_changes_nothing() -> None:
    result = script("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "--uninstall" in result.stdout
    assert "/etc/nanogrid/site.toml" in result.stdout


@pytest.mark.parametrize("options", [["--purge"], ["--uninstall", "now"], ["--help", "me"]])
def test_an_unknown_option_is_one_line(options: list[str]) -> None:
    result = script(*options)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert options[-1] in result.stderr


def test_it_says_that_it_needs_root() -> None:
    ordinary: list[str] = []
    if os.geteuid() == 0:
        ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        Path(folder).chmod(0o755)
        copied = shutil.copy(SCRIPT, folder)
        result = subprocess.run([*ordinary, "bash", copied], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (1, "install.sh: needs root: sudo ./install.sh\n")


@pytest.mark.timeout(900)
def test_in_a_debian_root_for_good(tmp_path: Path) -> None:
    debian = os.environ.get("NANOGRID_DEBIAN_ROOT")
    if debian is None:
        pytest.skip("NANOGRID_DEBIAN_ROOT names no Debian root")
    try:
        with fake_root(tmp_path, Path(debian), Path(sys.prefix)) as root:
            root.run("mount", "-t", "proc", "proc", "/proc")
            for name in ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
                if Path(name).exists():
                    shutil.copy(name, root.path(name))
            first = root.install()
            assert first.returncode == 0, first.stdout + first.stderr
            after_first = contents(root)
            second = root.install()
            assert second.returncode == 0, second.stdout + second.stderr
            assert contents(root) == after_first
            assert root.run("nanogrid", "check", "--config", SITE).returncode == 0
    except NoFakeRoot as problem:
        pytest.skip(str(problem))

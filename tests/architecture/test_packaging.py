"""The wheel installs in a fresh environment, its names are ours alone, and the command runs from
it.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it without dependencies in a fresh environment that sees ours
    behind it.
    """
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = dist.glob("naryn-*.whl")
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False)
    target = next((home / "lib").glob("python3*")) / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--prefix", home, "--ignore-installed", wheel],
        check=True,
        capture_output=True,
    )
    # Dependencies come from the environment that runs the tests; the program comes from the wheel
    # alone.
    ours = next(p for p in map(Path, sys.path) if p.name == "site-packages")
    links = target / "dependencies.pth"
    libraries = [
        entry
        for entry in ours.iterdir()
        if entry.name.startswith(("naryn", "_editable_impl_naryn", "__editable__"))
    ]
    shadow = tmp_path_factory.mktemp("libraries")
    for entry in ours.iterdir():
        if entry not in libraries and not entry.name.endswith(".pth"):
            if entry.name in {"drivers", "controller", "simulators"}:
                continue
            (shadow / entry.name).symlink_to(entry)
    links.write_text(f"{shadow}\n")
    return home


def _run(home: Path, *code: str) -> str:
    python = home / "bin" / "python"
    return subprocess.run(
        [python, "-I", "-c", *code], check=True, capture_output=True, text=True, cwd=home
    ).stdout


def test_names_are_ours_alone_and_tests_stay_home(installed: Path) -> None:
    owners = json.loads(
        _run(
            installed,
            "import importlib.metadata, json; "
            "print(json.dumps(importlib.metadata.packages_distributions()))",
        )
    )
    for name in ("controller", "drivers", "simulators"):
        assert owners[name] == ["naryn"]
    assert "tests" not in owners


def test_modules_come_from_the_wheel(installed: Path) -> None:
    where = _run(
        installed, "import controller, drivers; print(controller.__file__, drivers.__file__)"
    )
    for path in where.split():
        assert Path(path).is_relative_to(installed)


def test_the_command_runs_and_explains_itself(installed: Path) -> None:
    shown = subprocess.run(
        [installed / "bin" / "naryn", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=installed,
    )
    assert "hydropower" in shown.stdout


def test_data_files_are_in_the_wheel(installed: Path) -> None:
    code = (
        "import importlib.resources; "
        "data = importlib.resources.files('drivers') / '_firmware_configs'; "
        "print((data / 'README.md').is_file())"
    )
    assert _run(installed, code).strip() == "True"

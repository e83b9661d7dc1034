"""One process a site: the lock, its holder's name, and its end."""

import os
import stat
import subprocess
import sys

import pytest

from controller.site.lock import SiteLock, SiteLockError
from tests.services.journal_bench import PATIENCE_S, ROOT


def test_a_second_holder_is_refused_and_told_whose_it_is(tmp_path):
    state_dir = tmp_path / "state"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from controller.site.lock import SiteLock\n"
        "with SiteLock(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(state_dir)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        lock = SiteLock(state_dir)
        with (
            pytest.raises(SiteLockError, match=f"process {holder.pid} runs this site already"),
            lock,
        ):
            pass
        assert lock.path.read_text() == f"{holder.pid}\n"
        holder.kill()
        holder.wait(PATIENCE_S)
        with lock:
            assert lock.path.read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_again_after_its_context(tmp_path):
    state_dir = tmp_path / "state"
    with SiteLock(state_dir) as lock:
        assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(lock.path.parent.stat().st_mode) == 0o700
        with pytest.raises(SiteLockError, match=f"process {os.getpid()} runs"), SiteLock(state_dir):
            pass
        with pytest.raises(SiteLockError), SiteLock(state_dir):
            pass
    lock.path.write_text("4294967295, and what else somebody wrote\n")
    with SiteLock(state_dir):
        assert lock.path.read_text() == f"{os.getpid()}\n"


def test_a_child_process_does_not_inherit_the_lock(tmp_path):
    with SiteLock(tmp_path / "state"):
        sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with SiteLock(tmp_path / "state"):
            pass
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_lock_that_is_no_file_is_refused(tmp_path):
    lock = SiteLock(tmp_path / "state")
    with lock:
        pass
    lock.path.unlink()
    lock.path.symlink_to("/etc/passwd")
    with pytest.raises(SiteLockError, match=r"run/lock: cannot be opened"), lock:
        pass

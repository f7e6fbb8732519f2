"""`tune`, `report` and `export` without what Windows lacks. It stands in for a run on Windows, and does not replace one.

This file is also the program that the test runs. Other libraries choose their way by `sys.platform`, so it imports them first.
Then it takes from our package alone: functions, signals and modules of POSIX, /proc and /etc, the replacement and removal of
open files, and UTF-8 as the default encoding.
"""

import builtins
import os
import re
import subprocess
import sys
import sysconfig
import threading
import time
import types
from pathlib import Path

import pytest

MISSING_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
MISSING_FUNCTIONS = """
chown chroot confstr fchdir fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp
getpriority getsid getuid initgroups killpg lchown lockf mkfifo mknod nice openpty pathconf pidfd_open pipe2
posix_fadvise posix_fallocate posix_spawn pread pwrite readv register_at_fork sched_getaffinity sched_setaffinity
sched_yield sendfile setgid setpgid setpriority setsid setuid statvfs sync sysconf ttyname uname wait wait3 wait4
waitid writev O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG
"""
MISSING_SIGNALS = """
SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm getitimer pause
pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait
"""
MISSING = {
    "os": set(MISSING_FUNCTIONS.split()),
    "signal": set(MISSING_SIGNALS.split()),
    "socket": {"AF_UNIX", "socketpair"},
    "time": {"tzset", "clock_gettime", "pthread_getcpuclockid"},
}
STANDARD_LIBRARY = sysconfig.get_path("stdlib")
NOT_IN_NAMES = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
EXPERIMENT = """# %%
from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage

import keras
from keras import layers


def build(hp, spec):
    images = keras.Input(spec.shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(hp.Int("width", 4, 16), 3, strides=4, activation="relu")(x)
    return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(layers.Flatten()(x)))


def recipe(hp):
    return Recipe((Stage("training", hp.Float("learning_rate", 1e-4, 1e-2), max_epochs=1),), 256, "adamw")


question = "Größer als 猫?"
best = {"width": 8, "learning_rate": 2e-3}
EXPERIMENTS = [Experiment("tiny", question, "tests", FashionMNIST(), "flat", build, recipe, best)]
"""


@pytest.mark.slow
def test_the_core_runs_without_what_windows_lacks(tmp_path, new_store):
    (tmp_path / "experiments").mkdir()
    # As an editor on Windows writes it: a byte-order mark, and two characters at the end of a line.
    content = "\ufeff" + EXPERIMENT.replace("\n", "\r\n")
    (tmp_path / "experiments" / "tiny.py").write_bytes(content.encode())
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = os.environ | ascii_only | {"MLFLOW_TRACKING_URI": new_store(tmp_path)}
    environment.pop("PYTHONIOENCODING", None)
    done = subprocess.run(
        [sys.executable, __file__], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr
    assert r"Gr\xf6\xdfer als \u732b?" in done.stdout
    for said in ("report: reports", "exported: exports", "tiny-synthetic v1 (champion)", "all refused as on Windows"):
        assert said in done.stdout, done.stdout
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*")]
    assert {"index.html", "journal.json", "tiny-synthetic.keras", "tiny-synthetic.classes.json"} <= {
        path.name for path in written
    }
    assert not [path for path in written if any(NOT_IN_NAMES.search(part) for part in path.parts)]
    assert len({str(path).lower() for path in written}) == len(written), "names that differ in their case alone"
    assert max(len(str(path)) for path in written) < 180, "Windows' limit is 260 with the project's folder"


class Lacking(types.ModuleType):
    """A module without some of its names."""

    def __init__(self, module, names, **replaced):
        super().__init__(module.__name__)
        self.__dict__.update(replaced)
        self.__getattr__ = lambda name: self._get(module, names, name)

    @staticmethod
    def _get(module, names, name):
        if name in names:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} on Windows")
        return getattr(module, name)


def take_away():
    """Take from the package what Windows lacks."""
    originals = {name: __import__(name) for name in MISSING}

    def readlink(path, **options):
        raise FileNotFoundError(2, "no such file on Windows", str(path))

    replaced = {"os": {"name": "nt", "readlink": readlink}}
    lacking = {name: Lacking(module, MISSING[name], **replaced.get(name, {})) for name, module in originals.items()}
    real_import = builtins.__import__

    def portable_import(name, globals=None, locals=None, fromlist=(), level=0):
        ours = str((globals or {}).get("__name__", "")).startswith(("mlproject", "experiments."))
        if ours and name.partition(".")[0] in MISSING_MODULES:
            raise ModuleNotFoundError(f"no module named {name!r} on Windows")
        module = real_import(name, globals, locals, fromlist, level)
        return lacking.get(name, module) if ours else module

    builtins.__import__ = portable_import
    sys.addaudithook(refuse)


def refuse(event, arguments):
    """Refuse to our package what Windows refuses; an audit hook."""
    if event == "open" and str(arguments[0]).startswith(("/proc/", "/etc/", "/dev/", "/sys/")) and is_ours():
        raise FileNotFoundError(2, "no such file on Windows", str(arguments[0]))
    if event in ("os.rename", "os.remove") and is_ours():
        names = [os.path.realpath(name) for name in arguments[: 2 if event == "os.rename" else 1]]
        opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
        if used := opened.intersection(names):
            raise PermissionError(13, "another program uses the file (as on Windows)", used.pop())
    elif event in ("os.fork", "os.forkpty", "os.killpg", "os.symlink", "os.link") and is_ours():
        raise OSError(f"{event} is missing on Windows")


def is_ours():
    """Whether the first caller outside Python's own library is in our package."""
    frame = sys._getframe(2)
    while frame:
        name = frame.f_code.co_filename
        standard = name.startswith(("<frozen", STANDARD_LIBRARY)) and "site-packages" not in name
        if not standard:
            return f"{os.sep}mlproject{os.sep}" in name
        frame = frame.f_back
    return False


def main():
    """Run the core, and then what it does only when something goes wrong."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras  # noqa: F401
    import keras_tuner  # noqa: F401
    import mlflow.keras  # noqa: F401
    import psutil  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import tensorflow  # noqa: F401

    take_away()
    from mlproject import __main__ as commands
    from mlproject import disk, process
    from mlproject.training.watchdog import StalledError, Watchdog

    tune = ["tune", "--experiment", "tiny", "--data", "synthetic", "--budget-minutes", "0.02", "--max-trials", "1"]
    for command in (tune, ["report"], ["export", "--model", "tiny-synthetic"]):
        code = commands.main(command)
        if code:
            sys.exit(f"{command[0]}: exit code {code}")

    for name, module in (("fork", disk.os), ("SIGHUP", process.signal), ("pthread_kill", process.signal)):
        assert not hasattr(module, name)
    print(process.host(), process.is_alive(process.identity()))
    try:
        with Watchdog(0.4, print):
            while True:
                time.sleep(0.01)
    except StalledError as error:
        print(error)
    Path("held").write_text("old", encoding="ascii")
    stream = open("held", encoding="ascii")  # noqa: SIM115
    threading.Timer(0.3, stream.close).start()
    with disk.atomic_write(Path("held")) as part:
        part.write_text("new", encoding="ascii")
    assert Path("held").read_text(encoding="ascii") == "new" and stream.closed
    print("all refused as on Windows")
    process.exit_with(0)


if __name__ == "__main__":
    main()

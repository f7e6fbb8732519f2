"""A search over several hosts, of which one dies, one is cut off for a while, one joins late, and the driver is killed.

    sudo python tests/hosts.py

`test_hosts.py` runs it, too, and is skipped where hosts cannot be made; this program then fails.

Each host is a network namespace with an address of its own on a bridge, so that a cable can be pulled (`ip link set ... down`).
It needs root and Debian's iproute2. All hosts share this machine's cores and disk, but no folder of the search: each has a
home of its own, and the driver's project folder is the driver's alone. The store must hold what it holds after a search in peace.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
from torture import NAME, PROJECT, Round

BRIDGE, NETWORK, PORT = "mlbridge", "10.213.0", 6379
HEAD = f"{NETWORK}.10:{PORT}"
TRIALS, FEWEST_TRIALS, PATIENCE = 14, 7, 600
# A node that is silent for some five seconds counts as dead. Ray's default is half a minute.
HEALTH = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_timeout_ms": 2000}
HEALTH |= {"health_check_failure_threshold": 3}


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


class Host:
    """A network namespace in which Ray is started again whenever it ends, as a service would."""

    def __init__(self, number: int, folder: Path):
        self.name, self.address = f"mlhost{number}", f"{NETWORK}.{10 + number}"
        self.cable, self.home = f"mlcable{number}", folder / f"home{number}"
        self.home.mkdir(parents=True)
        self.service: subprocess.Popen | None = None
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.cable, "master", BRIDGE, "up")
        ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", self.name, "link", "set", device, "up")

    def popen(self, words: list[str], **options) -> subprocess.Popen:
        environment = os.environ | {
            "HOME": str(self.home),
            "PYTHONPATH": str(PROJECT / "src"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled",  # a local Ray in an earlier test of this process has set it to "token"
        }
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        environment |= options.pop("environment", {})
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *words], env=environment, start_new_session=True, **options
        )

    def start_ray(self, *words: str) -> None:
        start = f"ray start --node-ip-address={self.address} --num-cpus=1 --object-store-memory=200000000"
        loop = f"while :; do {start} --disable-usage-stats --block {' '.join(words)}; sleep 1; done"
        with (self.home / "ray.txt").open("ab") as log:
            self.service = self.popen(["bash", "-c", loop], stdout=log, stderr=log)

    def wait_for_ray(self) -> None:
        began = time.monotonic()
        while "Ray runtime started" not in (self.home / "ray.txt").read_text():
            assert time.monotonic() - began < PATIENCE, (self.home / "ray.txt").read_text()
            time.sleep(0.5)

    def join(self) -> None:
        self.start_ray(f"--address={HEAD}")

    def kill(self) -> None:
        """End everything on this host at once, as a power cut would."""
        found = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        for pid in map(int, found):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def plug(self, state: str) -> None:
        ip("link", "set", self.cable, state)

    def remove(self) -> None:
        self.kill()
        for what in (["link", "delete", self.cable], ["netns", "delete", self.name]):
            subprocess.run(["ip", *what], capture_output=True)


def why_not() -> str:
    """Why hosts cannot be made here; "" if they can."""
    if importlib.util.find_spec("ray") is None:
        return "Ray is not installed: make cluster"
    if shutil.which("ip") is None:
        return "the program `ip` is missing (Debian's iproute2)"
    try:
        ip("netns", "add", "mltest")
        ip("link", "add", "mltest", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces with a bridge can be made: {error.stderr.decode().strip() or error}"
    finally:
        for what in ("netns", "link"):
            subprocess.run(["ip", what, "delete", "mltest"], capture_output=True)
    return ""


class Search(Round):
    """The search of `torture.py`, with so many trials, by a driver on the first host."""

    def __init__(self, folder: Path, database: Path, host: Host):
        super().__init__(folder, database, "random", through_mlflow=False, deterministic=False, prune=False)
        self.host, self.process = host, None
        # The trials of `torture.py` are over so soon that one could end between the look at it and the end of its host.
        file = folder / "experiments" / "tiny.py"
        file.write_text(file.read_text().replace("0.3, 8)", "0.3, 400)").replace("max_epochs=12", "max_epochs=600"))
        asked = {"data": "synthetic", "tuner": "random", "budget-minutes": 6, "max-trials": TRIALS, "seeds": 3}
        asked |= {"prune": "false", "workers": 3, "ray": HEAD}
        self.command = [sys.executable, "-m", "mlproject", "tune"]
        self.command += [word for name, value in asked.items() for word in (f"--{name}", str(value))]

    def start(self) -> subprocess.Popen:
        environment = {"MLFLOW_TRACKING_URI": self.uri, "TF_NUM_INTRAOP_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = self.host.popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, environment=environment
            )
        return self.process

    def wait_until(self, what: str, true) -> None:
        began = time.monotonic()
        while not true():
            assert self.process.poll() is None, self.tail()
            assert time.monotonic() - began < PATIENCE, f"{what}: never\n{self.tail()}"
            time.sleep(0.5)
        say(what)

    def ended(self) -> int:
        return sum(trial["status"] != "running" for trial in self.journal().get("trials", []))

    def lost(self) -> int:
        return self.log.read_text().count("begins again, because its worker was lost")

    def runs(self, words: str) -> list:
        client = mlflow.MlflowClient(self.uri)
        everywhere = [one.experiment_id for one in client.search_experiments()]
        return client.search_runs(everywhere, words, max_results=1000)

    def trials(self) -> list:
        return self.runs("tags.role = 'trial'")

    def finished(self, host: Host, since: float) -> list:
        """The trials and final fits that began after this time, in seconds since 1970, and were trained there to their end."""
        words = f"tags.worker = '{host.address}' and attributes.status = 'FINISHED'"
        return self.runs(f"{words} and attributes.start_time > {int(1000 * since)}")

    def trains_on(self, host: Host) -> bool:
        """Whether a trial is under way there that has finished an epoch."""
        running = [run for run in self.trials() if run.info.status == "RUNNING"]
        return host.address in {run.data.tags.get("worker") for run in running}

    def hosts(self) -> set[str]:
        return {run.data.tags.get("worker", "") for run in self.trials()}


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


def run(folder: Path) -> None:
    database = folder / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("link", "set", BRIDGE, "up")
    hosts: list[Host] = []
    try:
        hosts += [Host(number, folder) for number in range(4)]
        head, dying, cut, late = hosts
        head.start_ray(
            "--head", f"--port={PORT}", "--include-dashboard=false", f"--system-config='{json.dumps(HEALTH)}'"
        )
        for host in (dying, cut):
            host.join()
        for host in (head, dying, cut):
            host.wait_for_ray()
        search = Search(folder / "project", database, head)
        process = search.start()
        search.wait_until("two trials have ended", lambda: search.ended() >= 2)
        search.wait_until("a trial is under way on the first host", lambda: search.trains_on(dying))
        dying.kill()
        search.wait_until("one host is dead, and its trial has begun again", lambda: search.lost() >= 1)
        search.wait_until("a trial is under way on the second host", lambda: search.trains_on(cut))
        cut.plug("down")
        search.wait_until("another host is cut off, and its trial has begun again", lambda: search.lost() >= 2)
        time.sleep(5)
        cut.plug("up")
        plugged = time.time()
        late.join()
        search.wait_until("a host that joined late trains a trial", lambda: late.address in search.hosts())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        say("the driver is killed, and started again")
        code = search.start().wait(timeout=PATIENCE)
        assert code == 0, search.tail()
        check(search)
        for host in (cut, late):  # if their trials were ended with the driver, they had final fits
            count = len(search.finished(host, plugged))
            say(f"{host.address} trained {count} fits to their end after the cable was plugged in again")
            assert count, (host.home / "ray.txt").read_text()[-4000:]
    finally:
        for host in hosts:
            host.remove()
        ip("link", "delete", BRIDGE)


def check(search: Search) -> None:
    """Check the store as `Round.check` does, and which hosts were used."""
    trials = search.trials()
    lost = [run for run in trials if run.data.tags.get("failure", "").startswith("the worker was lost")]
    finished = sorted(run.data.tags["trial"] for run in trials if run.info.status == "FINISHED")
    say(f"{len(trials)} runs of trials, {len(lost)} of them lost with their hosts; trained on {sorted(search.hosts())}")
    assert finished == [f"trial-{number:02d}" for number in range(1, len(finished) + 1)], finished
    assert len(finished) >= FEWEST_TRIALS  # of those asked for; the minutes may end before
    assert len(lost) >= 2 and {run.info.status for run in trials} == {"FINISHED", "KILLED"}
    search.deterministic = False
    tested = search.check()
    say(f"{NAME}: test accuracies {np.round(tested, 4)}; all checks passed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="folder for the hosts, which is kept")
    chosen = parser.parse_args()
    if reason := why_not():
        sys.exit(f"nothing was checked: {reason}")
    run(chosen.folder or Path(tempfile.mkdtemp(prefix="hosts")))

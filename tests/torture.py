"""Kill the real command at many moments, start it again until it has finished, and check what the store then holds.

    python tests/torture.py --kills 50 --seed 0
    python tests/torture.py --kills 50 --workers 2

Each round is one search in a fresh project folder with a tiny experiment. Its command is killed several times: by SIGKILL,
SIGTERM or SIGINT, sent to our process, to `mlflow run` alone, or to the whole process group, as soon as the search has
reached a given point or a random time later. With workers, processes of Ray train the trials and the final fits, and some of
them are killed in place of the command. Finally the command runs to its end. The store must then hold every finished trial once,
the right winner, and one registered model.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import psutil
from scipy import stats

PROJECT = Path(__file__).parent.parent
NAME = "tiny-synthetic"
TRIALS = 3
EXPERIMENT = """
import keras
from keras import layers
from mlproject.datasets import FashionMNIST
from mlproject.experiment import Experiment
from mlproject.recipe import Recipe, Stage

def build(hp, spec):
    images = keras.Input(spec.shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(hp.Int("width", 4, 16), 3, strides=2, activation="relu", name="low")(x)
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    return keras.Model(images, layers.Dense(spec.classes, activation="softmax")(layers.Flatten()(x)))

def recipe(hp):
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    stages = Stage("head", rate, "low", 0.3, 8), Stage("all", rate, share=0.7, max_epochs=12)
    return Recipe(stages, 64, "muon", random_translation=1, steps_per_execution=2)

BEST = {"width": 8, "rate": 2e-3}
EXPERIMENTS = [Experiment("tiny", "Does it go on?", "torture", FashionMNIST(), "flat", build, recipe, BEST)]
"""
SEEDS = (0, 1, 2)  # of the final fits
POINTS = ("start", "trial-01", "trial-02", "trial-03", "schedule")
POINTS += ("checkpoint-0.npz", "registered", "checkpoint-1.npz", "fits-1", "checkpoint-2.npz", "result")
PATIENCE = 900  # seconds for a point, or for the end


class Round:
    """One search in a project folder of its own, from its first start to its end."""

    def __init__(
        self, folder: Path, database: Path, tuner: str, through_mlflow: bool, deterministic: bool, workers=1, prune=True
    ):
        self.folder, self.through_mlflow, self.deterministic = folder, through_mlflow, deterministic
        (folder / "experiments").mkdir(parents=True)
        (folder / "experiments" / "tiny.py").write_text(EXPERIMENT)
        for name in ("MLproject", "conda.yaml"):
            shutil.copy(PROJECT / name, folder)
        shutil.copy(database, folder / "mlflow.db")
        # By default, a process waits five seconds for other writers. On a busy machine, `mlflow run` once gave up.
        self.uri = f"sqlite:///{folder}/mlflow.db?timeout=60"
        asked = {"data": "synthetic", "tuner": tuner, "budget_minutes": 0.6, "max_trials": TRIALS, "seeds": len(SEEDS)}
        asked["deterministic"] = deterministic  # otherwise a slow machine may end the search before its last trial
        asked |= {"workers": workers, "prune": prune}
        programs = Path(sys.executable).parent
        if through_mlflow:
            words = [f"-P{name}={value}" for name, value in asked.items()]
            self.command = [str(programs / "mlflow"), "run", ".", "-e", "tune", "--env-manager", "local", *words]
        else:
            words = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", str(value))]
            self.command = [sys.executable, "-m", "mlproject", "tune", *words]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        self.environment = inherited | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT / "src"),
            "MLFLOW_TRACKING_URI": self.uri,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_NUM_INTRAOP_THREADS": "1",  # sums of several threads may differ in the last digit from those of one
        }
        self.log = folder / "log.txt"

    def start(self) -> subprocess.Popen:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Otherwise SIGINT would be ignored if this script is started in the background.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def kill(self, sent: signal.Signals, whole_group: bool, point: str, delay: float) -> bool:
        """Start the command and kill it `delay` seconds after it reached `point`; returns False if it ended before."""
        searches = 0 if point == "start" else self._searches() + 1  # earlier points count once the search has started
        process = self.start()
        self._wait_for(point, searches, process)
        time.sleep(delay)
        alive = process.poll() is None
        if alive:
            (os.killpg if whole_group else os.kill)(process.pid, sent)
        process.wait(timeout=PATIENCE)
        return alive

    def kill_worker(self, point: str, delay: float) -> bool:
        """Start the command, kill a worker `delay` seconds after it reached `point`, and stop the command a little later."""
        process = self.start()
        self._wait_for(point, 0 if point == "start" else self._searches() + 1, process)
        time.sleep(delay)
        workers = []
        if process.poll() is None:
            below = psutil.Process(process.pid).children(recursive=True)
            workers = [one for one in below if one.is_running() and one.name().startswith("ray::call")]
        for one in workers[:1]:
            one.kill()
        time.sleep(10)  # the fit begins again elsewhere
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=PATIENCE)
        return bool(workers)

    def finish(self) -> None:
        """Run the command to its end."""
        process = self.start()
        code = process.wait(timeout=PATIENCE)
        assert code == 0, self.tail()

    def tail(self) -> str:
        return self.log.read_text()[-4000:]

    def journal(self) -> dict:
        found = list(self.folder.glob(".mlproject/searches/*/*/journal.json"))
        return json.loads(found[0].read_text()) if found else {}

    def _searches(self) -> int:
        return self.log.read_text().count("[1/1]") if self.log.exists() else 0

    def _wait_for(self, point: str, searches: int, process: subprocess.Popen) -> None:
        began = time.monotonic()
        while process.poll() is None and not (self._searches() >= searches and self._reached(point)):
            assert time.monotonic() - began < PATIENCE, f"{point} was not reached\n{self.tail()}"
            time.sleep(0.02)

    def _reached(self, point: str) -> bool:
        if point.startswith("trial"):
            return any(trial["name"] == point for trial in self.journal().get("trials", []))
        if point in ("schedule", "result"):
            return bool(self.journal().get(point))
        if point.startswith("fits"):
            return point.removeprefix("fits-") in self.journal().get("fits", {})
        if point.endswith(".npz"):
            return bool(list(self.folder.glob(f".mlproject/searches/*/*/{point}")))
        if point == "registered":
            return bool(mlflow.MlflowClient(self.uri).search_model_versions(f"name = '{NAME}'"))
        return True

    def winner(self, trials: list) -> float:
        """The validation accuracy of the trial that must be refitted, computed from the predictions in the store."""
        correct = {}
        finished = [run for run in trials if run.info.status == "FINISHED"]
        for run in finished:
            path = mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/evaluation/validation.npz")
            kept = np.load(path)
            correct[run.data.tags["trial"]] = kept["labels"] == kept["predictions"]
        accuracy = {run.data.tags["trial"]: run.data.metrics["val_accuracy"] for run in finished}
        first = correct.pop("trial-01", None)
        if first is None:
            return max(accuracy.values())
        p = {name: _mcnemar(first, one) for name, one in correct.items()}
        better, largest = [], 0.0
        for rank, name in enumerate(sorted(p, key=p.get)):  # Holm's method
            largest = max(largest, (len(p) - rank) * p[name])
            if largest < 0.05 and accuracy[name] > accuracy["trial-01"]:
                better.append(accuracy[name])
        return max(better, default=accuracy["trial-01"])

    def check(self) -> list[float]:
        """Check the store, and return the test accuracy of each seed."""
        client = mlflow.MlflowClient(self.uri)
        runs = client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=1000)
        role = {run.info.run_id: run.data.tags.get("role", "project") for run in runs}

        running = [(run.info.run_name, role[run.info.run_id]) for run in runs if run.info.status == "RUNNING"]
        assert not running, f"left running: {running}"
        (parent,) = [run for run in runs if role[run.info.run_id] == "search"]
        (final,) = [run for run in runs if role[run.info.run_id] == "final"]
        assert parent.info.status == final.info.status == "FINISHED", (parent.info.status, final.info.status)

        trials = [run for run in runs if role[run.info.run_id] == "trial"]
        finished = [run.data.tags["trial"] for run in trials if run.info.status in ("FINISHED", "FAILED")]
        expected = TRIALS if self.deterministic else len(set(finished))
        assert sorted(finished) == [f"trial-{number:02d}" for number in range(1, expected + 1)], finished
        assert {run.info.status for run in trials} <= {"FINISHED", "FAILED", "KILLED"}
        for run in trials:  # a trial that was run again kept its values
            (same,) = [
                one
                for one in trials
                if one.data.tags["trial"] == run.data.tags["trial"] and one.info.status != "KILLED"
            ]
            if "width" in run.data.params:
                assert run.data.params["rate"] == same.data.params["rate"]
        repeats = [run for run in runs if role[run.info.run_id] == "repeat"]
        assert [run.info.status for run in repeats] == ["FINISHED"] * (len(SEEDS) - 1)
        by_seed = {int(run.data.tags["seed"]): run for run in [final, *repeats]}
        assert sorted(by_seed) == list(SEEDS) and by_seed[0] is final
        assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in [*trials, final, *repeats])
        tested = [by_seed[seed].data.metrics["test_accuracy"] for seed in SEEDS]
        assert abs(final.data.metrics["test_accuracy_mean"] - np.mean(tested)) < 1e-9
        low, high = (final.data.metrics[f"test_accuracy_mean_{end}"] for end in ("low", "high"))
        assert low <= np.mean(tested) <= high
        assert abs(final.data.metrics["test_accuracy_std"] - np.std(tested, ddof=1)) < 1e-9

        (version,) = client.search_model_versions(f"name = '{NAME}'")
        assert version.run_id == final.info.run_id
        assert version.tags["seed_runs"] == ",".join(by_seed[seed].info.run_id for seed in SEEDS)
        aliases = client.get_registered_model(NAME).aliases
        assert {alias: int(number) for alias, number in aliases.items()} == {"champion": int(version.version)}, aliases
        done = {
            run.data.tags["trial"]: run.data.metrics["val_accuracy"] for run in trials if run.info.status == "FINISHED"
        }
        mlflow.set_tracking_uri(self.uri)
        assert final.data.metrics["trial_val_accuracy"] == self.winner(trials), done
        kept = np.load(mlflow.artifacts.download_artifacts(f"runs:/{final.info.run_id}/evaluation/predictions.npz"))
        accuracy = np.mean(kept["probabilities"].argmax(axis=1) == kept["labels"])
        assert abs(accuracy - final.data.metrics["test_accuracy"]) < 1e-9
        for run in by_seed.values():
            history = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/evaluation/history.csv").splitlines()[1:]
            assert [int(line.split(",")[0]) for line in history] == list(range(1, len(history) + 1))
            assert sum(stage["epochs"] for stage in self.journal()["schedule"].values()) == len(history)
        mlflow.keras.load_model(f"models:/{NAME}@champion")
        left = [str(path) for path in self.folder.rglob("*.part")] + list(
            self.folder.glob(".mlproject/searches/*/*/*.npz")
        )
        assert len(left) <= 3 and not list(self.folder.rglob("*.damaged*")), left
        return tested


def _mcnemar(first: np.ndarray, other: np.ndarray) -> float:
    lost, won = int(np.sum(first & ~other)), int(np.sum(other & ~first))
    return stats.binomtest(won, won + lost, 0.5).pvalue if won + lost else 1.0


def torture(folder: Path, kills: int, seed: int, per_round: int = 7, workers: int = 1) -> dict[str, int]:
    """Run rounds of `per_round` kills until there were `kills`; returns counts. A failed check raises AssertionError.

    A deterministic search must reach the test accuracies of an uninterrupted search, which runs once for each tuner, in one
    process. With several workers only random search is deterministic.
    """
    chance = random.Random(seed)
    database = folder / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    accuracies = {}
    counts = {"rounds": 0, "kills": 0, "missed": 0}
    while counts["kills"] < kills:
        number = counts["rounds"] = counts["rounds"] + 1
        tuner = ("bayesian", "random", "hyperband")[number % 3]
        deterministic = number % 4 != 0 and (workers == 1 or tuner == "random")
        one = Round(folder / f"round{number}", database, tuner, bool(number % 2), deterministic, workers, workers == 1)
        # In chronological order, so that few points are passed before the round waits for them.
        points = sorted(chance.choices(range(len(POINTS)), k=min(per_round, kills - counts["kills"])))
        for point in points:
            sent = chance.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            whole_group, delay = chance.random() < 0.5, chance.choice((0, chance.uniform(0, 1), chance.uniform(0, 8)))
            began = time.monotonic()
            if workers > 1 and chance.random() < 0.3:
                killed = one.kill_worker(POINTS[point], delay)
                counts["workers"] = counts.get("workers", 0) + killed
            else:
                killed = one.kill(sent, whole_group, POINTS[point], delay)
            counts["kills" if killed else "missed"] += 1
            print(
                f"round {number} ({tuner}, {'mlflow run' if one.through_mlflow else 'python -m'}): {sent.name} to the "
                f"{'group' if whole_group else 'process'} {delay:.1f} s after {POINTS[point]}: "
                f"{'killed' if killed else 'had ended'} after {time.monotonic() - began:.0f} s",
                flush=True,
            )
            if not killed:
                break
        one.finish()
        tested = one.check()
        if one.deterministic:
            if tuner not in accuracies:
                whole = Round(folder / f"whole-{tuner}", database, tuner, False, deterministic=True, prune=workers == 1)
                whole.finish()
                accuracies[tuner] = whole.check()
            assert tested == accuracies[tuner], (tuner, tested, accuracies)
        shutil.rmtree(one.folder)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="folder for the rounds, which is kept")
    chosen = parser.parse_args()
    place = chosen.folder or Path(tempfile.mkdtemp(prefix="torture"))
    place.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    print(
        torture(place, chosen.kills, chosen.seed, workers=chosen.workers),
        f"in {(time.monotonic() - start) / 60:.0f} minutes, all checks passed",
    )

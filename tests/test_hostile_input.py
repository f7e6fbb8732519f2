"""Malicious input is never executed, and is refused in one line. (For archives, see test_properties.py.)"""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import PROJECT, TINY, copy_experiments

from mlproject import export
from mlproject.discovery import find
from mlproject.errors import UserError
from mlproject.networks import pretrained


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "../up",
        "a:b",
        "it's",
        'a"b',
        "<script>alert(1)</script>",
        "a b",
        "a\nb",
        "a,b",
        "a*",
        "-x",
        "é",
        "x" * 101,
    ],
)
@pytest.mark.parametrize("field", ["name", "comparison"])
def test_a_name_that_some_system_would_not_accept_is_refused(field, name):
    with pytest.raises(
        UserError, match=f"{field}='.*' of an experiment is not accepted; accepted: up to 100 letters"
    ) as error:
        dataclasses.replace(TINY, **{field: name})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("field", "value"), [("best_in_an_hour", {"widht": 12}), ("fixed", ("widht",))])
def test_a_hyperparameter_that_has_no_best_value_is_refused(field, value):
    with pytest.raises(UserError, match=f"{field} of tiny: widht not accepted; accepted: width, learning_rate"):
        dataclasses.replace(TINY, **{field: value})


def test_a_topic_of_another_type_is_refused():
    with pytest.raises(UserError, match="topic='Networks' of tiny; accepted: a Topic of mlproject.topic"):
        dataclasses.replace(TINY, topic="Networks")


def test_the_file_with_a_bad_name_is_named(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from mlproject.experiment import Experiment\n"
        "EXPERIMENTS = [Experiment('a/b', 'q', 'c', 'cifar100', 'fine', None, None, {})]\n"
    )
    with pytest.raises(UserError, match="bad.py does not import: .*name='a/b' of an experiment is not accepted"):
        find("*", tmp_path)


def test_parameters_of_mlflow_run_are_never_executed(tmp_path, new_store):
    """Every value below would create a file in the project's folder if a shell interpreted it."""
    for name in ("MLproject", "conda.yaml"):
        shutil.copy(PROJECT / name, tmp_path)
    copy_experiments(tmp_path)
    uri = new_store(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    programs = Path(sys.executable).parent
    values = [
        "experiment=x'; touch pwned-1; '",
        "tuner=bayesian\ntouch pwned-2\n",
        'data_dir="$(touch pwned-3)" && touch pwned-4',
        "weights=`touch pwned-5` | touch pwned-6 & touch pwned-7",
        "seed=0; touch pwned-8",
        "budget_minutes={data} > pwned-9",
        "unheard=$(touch pwned-10); touch pwned-11",
    ]
    done = subprocess.run(
        [
            programs / "mlflow",
            "run",
            ".",
            "-e",
            "tune",
            "--env-manager",
            "local",
            *sum((["-P", v] for v in values), []),
        ],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        | {"PATH": f"{programs}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0 and "\nerror: " in done.stderr, done.stderr
    assert {path.name for path in tmp_path.iterdir()} - before <= {"mlruns"}


def lambda_model():
    """A model whose Lambda layer holds marshalled code, which loading without safe mode would run."""
    images = keras.Input((32, 32, 3))
    return keras.Model(images, keras.layers.Lambda(lambda x: x * 2, output_shape=(32, 32, 3))(images))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_whole_model_with_a_lambda_layer_is_no_weights_file(tmp_path, name):
    lambda_model().save(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} (is not HDF5|does not fit VGG16)"):
        pretrained.find(str(tmp_path / name), "VGG16")


def test_the_printed_line_loads_no_model_with_a_lambda_layer(tmp_path):
    lambda_model().save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="unsafe|safe_mode"):
        exec(export.loading_code(tmp_path / "model.keras"), {})


def test_weights_that_claim_terabytes_are_refused(tmp_path):
    path = tmp_path / "bomb.weights.h5"
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    base.save_weights(path)
    with h5py.File(path, "a") as file:
        variables = []
        file.visititems(lambda name, item: variables.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[variables[0]]
        file.create_dataset(variables[0], (10**12,), np.float32, chunks=(10**6,), compression="gzip")
    with pytest.raises(UserError, match="bomb.weights.h5 does not fit VGG16"):
        pretrained.find(str(path), "VGG16")


@pytest.mark.parametrize("weights", ["~no-such-user/vgg.h5", "x" * 5000, "a\nb", "--weights"])
def test_odd_paths_of_weights_are_refused_in_one_line(weights):
    with pytest.raises(UserError, match="is not a file; accepted") as error:
        pretrained.find(weights, "VGG16")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400

"""Private parts of libraries that this project relies on. A failure names the part that was removed or changed."""

import importlib
import inspect

import keras
import keras_tuner
import mlflow
import numpy as np
import pytest
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

from mlproject.networks.applications import make_base
from mlproject.networks.walk import node_of
from mlproject.training.optimizers import ConvolutionMuon, make_optimizer


def require(library, module, name, parameters):
    """Return a private part of a library; fail with its name when it is gone or no longer accepts these parameters.

    `name` may be dotted, such as "Class.method". `parameters` are the names of those that we pass, `self` included;
    None for a part that is not called.
    """
    full_name = f"{module}.{name}"
    try:
        hook = importlib.import_module(module)
        for part in name.split("."):
            hook = getattr(hook, part)
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"{library} no longer has the private hook {full_name} ({error})") from error
    if parameters is not None:
        present = list(inspect.signature(hook).parameters)
        assert present[: len(parameters)] == parameters, (
            f"{library} changed the signature of the private hook {full_name}: "
            f"expected to begin with {parameters}, found {present}"
        )
    return hook


def test_mlflow_sqlalchemystore_creates_a_database(tmp_path):
    """Used by `tracking.store` to create a database on a temporary file before other processes can see it."""
    hook = "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore"
    require("MLflow", "mlflow.store.tracking.sqlalchemy_store", "SqlAlchemyStore", ["db_uri", "default_artifact_root"])
    default_folder = require("MLflow", "mlflow.store.tracking", "DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH", None)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    made = SqlAlchemyStore(f"sqlite:///{tmp_path}/part", default_folder)
    assert hasattr(made, "engine"), f"MLflow's private hook {hook} no longer has the attribute `engine`"
    made.engine.dispose()
    (tmp_path / "part").rename(tmp_path / "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment("0").name == "Default", f"{hook} no longer creates a complete database"


def test_mlflow_sqlalchemystore_keeps_its_engines():
    """Used by the test of a full disk, which must close the database before it unmounts the disk."""
    engines = require("MLflow", "mlflow.store.tracking.sqlalchemy_store", "SqlAlchemyStore._engine_map", None)
    assert isinstance(engines, dict), "MLflow's SqlAlchemyStore._engine_map is no longer a dict"


def test_mlflow_reads_a_databases_revision_and_file_addresses():
    """Used by `tracking.database`; also the autologging table, by `tracking.interference`."""
    require("MLflow", "mlflow.store.db.utils", "_get_alembic_config", ["db_url", "alembic_dir"])
    require("MLflow", "mlflow.utils.file_utils", "local_file_uri_to_path", ["uri"])
    table = require("MLflow", "mlflow.utils.autologging_utils", "AUTOLOGGING_INTEGRATIONS", None)
    assert isinstance(table, dict), "MLflow's AUTOLOGGING_INTEGRATIONS is no longer a dict"


def test_mlflow_names_the_tags_of_projects():
    """Used by `tracking.runs` to recognise and describe the run that `mlflow run` opened; also of experiments and parents."""
    expected = {
        "MLFLOW_EXPERIMENT_PRIMARY_METRIC_NAME": "mlflow.experiment.primaryMetric.name",
        "MLFLOW_PARENT_RUN_ID": "mlflow.parentRunId",
        "MLFLOW_PROJECT_ENTRY_POINT": "mlflow.project.entryPoint",
        "MLFLOW_PROJECT_ENV": "mlflow.project.env",
        "MLFLOW_RUN_NOTE": "mlflow.note.content",
        "MLFLOW_SOURCE_NAME": "mlflow.source.name",
        "MLFLOW_SOURCE_TYPE": "mlflow.source.type",
    }
    found = {name: require("MLflow", "mlflow.utils.mlflow_tags", name, None) for name in expected}
    assert found == expected, f"MLflow changed the values of mlflow.utils.mlflow_tags: {found}"


def test_mlflow_adds_its_own_tags_to_those_of_a_run():
    """Used by `tracking.concurrent_runs`, which opens runs without making them active."""
    hook = require("MLflow", "mlflow.tracking.context.registry", "resolve_tags", ["tags"])
    found = hook({"mine": "1"})
    assert found["mine"] == "1" and "mlflow.source.name" in found, f"MLflow's resolve_tags gives {found}"


def test_mlflow_says_nothing_while_its_logging_is_disabled(capsys):
    """Used by `tracking.registry`, which says itself what it registers."""
    module = "mlflow.utils.logging_utils"
    disable, enable, say = (
        require("MLflow", module, name, None) for name in ("disable_logging", "enable_logging", "eprint")
    )
    disable()
    say("hidden")
    enable()
    say("shown")
    assert capsys.readouterr().err == "shown\n", f"{module}.disable_logging does not silence MLflow any more"


# Keras' Muon, which `training.optimizers.ConvolutionMuon` overrides


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_should_use_adamw", ["self", "variable"]),
        ("_muon_update_step", ["self", "gradient", "variable", "lr", "m"]),
        ("zeropower_via_newtonschulz5", ["self", "x", "steps"]),
    ],
)
def test_muon_has_the_methods_that_are_overridden(name, parameters):
    require("Keras", "keras.optimizers", f"Muon.{name}", parameters)


def test_muon_has_the_numbers_that_its_steps_use():
    optimizer = keras.optimizers.Muon(0.1, momentum=0.6, ns_steps=3, adam_lr_ratio=0.05, adam_weight_decay=0.1)
    expected = {"muon_a": 3.4445, "muon_b": -4.7750, "muon_c": 2.0315, "momentum": 0.6, "ns_steps": 3}
    found = {name: getattr(optimizer, name, "gone") for name in expected}
    assert found == expected, f"keras.optimizers.Muon has {found}"


def test_muon_calls_the_methods_that_are_overridden(monkeypatch):
    called = []

    def recorded(name):
        original = getattr(ConvolutionMuon, name)

        def method(self, *arguments):
            called.append(name)
            return original(self, *arguments)

        return method

    names = ("_should_use_adamw", "_muon_update_step", "zeropower_via_newtonschulz5")
    for name in names:
        monkeypatch.setattr(ConvolutionMuon, name, recorded(name))
    kernel, bias = (keras.Variable(np.ones(shape, "float32")) for shape in ((3, 3, 2, 4), (4,)))
    optimizer = make_optimizer("muon", 0.1, weight_decay=0.0)
    optimizer.build([kernel, bias])
    optimizer.apply([keras.ops.ones(variable.shape) for variable in (kernel, bias)], [kernel, bias])
    missing = set(names) - set(called)
    assert not missing, f"keras.optimizers.Muon no longer calls {', '.join(missing)}"
    assert called.count("_muon_update_step") == 1, "keras.optimizers.Muon no longer asks _should_use_adamw"


# What `networks.applications` uses of the modules that define networks


def test_a_network_downloads_its_weights_by_the_function_that_is_replaced():
    require("Keras", "keras.src.utils.file_utils", "get_file", ["fname", "origin"])
    require("Keras", "keras.src.applications.vgg16", "preprocess_input", ["x"])
    asked = []

    def get_file(fname, origin, **options):
        asked.append((fname, origin, sorted(options)))
        raise InterruptedError

    for network in ("VGG16", "ResNet50V2", "EfficientNetB0"):
        with pytest.raises(InterruptedError):
            make_base(network, get_file, input_shape=(32, 32, 3))
    assert all(name.endswith(".h5") and url.startswith("https://") for name, url, _ in asked) and len(asked) == 3
    assert {"file_hash"} <= set(asked[0][2]), f"keras.applications no longer gives get_file a file_hash: {asked[0][2]}"


# Keras Tuner's Oracles, which `search.oracles` overrides, and its Tuner, which the search overrides

ORACLES = (RandomSearchOracle, BayesianOptimizationOracle, HyperbandOracle)


def one_number():
    """A space of one hyperparameter, x from 0 to 9."""
    space = keras_tuner.HyperParameters()
    space.Int("x", 0, 9)
    return space


@pytest.mark.parametrize("oracle", ORACLES)
def test_oracles_have_the_methods_that_are_overridden(oracle):
    module = "keras_tuner.oracles"
    require("Keras Tuner", module, f"{oracle.__name__}._random_values", ["self"])
    require("Keras Tuner", module, f"{oracle.__name__}._duplicate", ["self", "values"])
    require("Keras Tuner", module, f"{oracle.__name__}.populate_space", ["self", "trial_id"])


@pytest.mark.parametrize("oracle", ORACLES)
def test_oracles_take_their_first_values_from_random_values(oracle):
    class Fixed(oracle):
        def _random_values(self):
            return {"x": 7}

    answer = Fixed(objective=keras_tuner.Objective("score", "max"), hyperparameters=one_number()).populate_space("0")
    assert answer["status"] == "RUNNING" and answer["values"]["x"] == 7
    assert ("tuner/epochs" in answer["values"]) == (oracle is HyperbandOracle)


def test_the_first_round_of_a_hyperband_bracket_lists_its_trials():
    oracle = HyperbandOracle(objective=keras_tuner.Objective("score", "max"), hyperparameters=one_number())
    oracle.populate_space("0")
    assert [one["id"] for bracket in oracle._brackets for one in bracket["rounds"][0]] == ["0"]


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_search_calls_pre_create_trial_then_run_trial_and_remembers_the_values(oracle, tmp_path):
    require("Keras Tuner", "keras_tuner", "Tuner.pre_create_trial", ["self"])
    require("Keras Tuner", "keras_tuner", "Tuner.run_trial", ["self", "trial"])

    class EnoughError(Exception):
        pass

    class Recorded(keras_tuner.Tuner):
        calls = []

        def pre_create_trial(self):
            if len(self.oracle.trials) == 2:
                raise EnoughError
            self.calls.append("pre_create_trial")

        def run_trial(self, trial):
            self.calls.append(f"run_trial {int(trial.trial_id)}")
            return {"score": float(trial.hyperparameters.values["x"])}

    tuner = Recorded(
        oracle=oracle(objective=keras_tuner.Objective("score", "max"), hyperparameters=one_number()),
        hypermodel=lambda hp: hp.Int("x", 0, 9),
        directory=tmp_path,
        project_name="hooks",
    )
    with pytest.raises(EnoughError):  # what pre_create_trial raises ends the search
        tuner.search()
    assert tuner.calls == ["pre_create_trial", "run_trial 0", "pre_create_trial", "run_trial 1"]
    trials = tuner.oracle.trials.values()
    assert all(trial.score == trial.hyperparameters.values["x"] for trial in trials)
    assert all(tuner.oracle._duplicate(trial.hyperparameters.values) for trial in trials)
    assert not tuner.oracle._duplicate({"x": 10})


# The graph that Keras keeps of a model, in which `networks.explain` finds the layers before a layer


def test_keras_tensors_know_the_layer_that_made_them():
    images = keras.Input((4,), name="images")
    output = keras.layers.Dense(2, name="dense")(images)
    hook = "keras.KerasTensor._keras_history.operation.name"
    try:
        names = [tensor._keras_history.operation.name for tensor in (images, output)]
    except AttributeError as error:
        raise AssertionError(f"Keras no longer has the private hook {hook} ({error})") from error
    assert names == ["images", "dense"], f"Keras' private hook {hook} gives {names}, not the layers' names"


def test_keras_keeps_the_calls_of_layers():
    """Used by `networks.walk.node_of`."""
    numbers, layer = keras.Input((4,)), keras.layers.Dense(2)
    model = keras.Model(numbers, layer(numbers))
    assert hasattr(model, "_nodes_by_depth"), "Keras' Functional no longer has the private attribute _nodes_by_depth"
    assert hasattr(layer, "_inbound_nodes"), "Keras' Layer no longer has the private attribute _inbound_nodes"
    node = node_of(model, layer)
    assert node.input_tensors[0] is numbers and node.output_tensors[0] is model.output

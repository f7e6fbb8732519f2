"""Whatever the user's environment says to Python, Keras, matplotlib and MLflow: it works, or one line refuses it."""

import json
import os
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from conftest import PROJECT
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from mlproject import environment, plots, style
from mlproject.errors import UserError


@pytest.fixture
def prepare(monkeypatch):
    """Return a function that prepares this process for the variables that it is given."""
    for name in ("KERAS_BACKEND", "KERAS_HOME", "KERAS_NNX_ENABLED", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        environment.prepare()

    return run


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("KERAS_BACKEND", "jax", "KERAS_BACKEND=jax is not accepted; accepted: tensorflow"),
        ("KERAS_BACKEND", "a\nb", r"KERAS_BACKEND=a\nb is not accepted; accepted: tensorflow"),
        ("KERAS_MAX_EPOCHS", "1", "KERAS_MAX_EPOCHS=1 is not accepted, because it cuts every training short"),
        ("KERAS_MAX_STEPS_PER_EPOCH", "", "KERAS_MAX_STEPS_PER_EPOCH= is not accepted, because it cuts"),
    ],
)
def test_a_variable_under_which_no_search_would_do_what_it_says_is_refused(prepare, name, value, said):
    with pytest.raises(UserError) as error:
        prepare(**{name: value})
    assert str(error.value).startswith(said)


def test_variables_of_tensorflow_and_cuda_are_set_unless_the_user_has_set_them(prepare, monkeypatch):
    chosen = {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "NVIDIA_TF32_OVERRIDE": "0"}
    for name in chosen:
        monkeypatch.delenv(name, raising=False)
    prepare()
    assert {name: os.environ[name] for name in chosen} == chosen
    prepare(**dict.fromkeys(chosen, "of the user"))
    assert {os.environ[name] for name in chosen} == {"of the user"}


@pytest.mark.parametrize(
    "content, said",
    [
        ({"floatx": "bfloat16"}, "floatx=bfloat16 is not accepted by Keras; accepted: float16, float32, float64"),
        ({"image_data_format": "first"}, "image_data_format=first is not accepted by Keras; accepted: channels_last"),
        ({"epsilon": 1}, "epsilon=1 is not accepted by Keras; accepted: a number such as 1e-07"),
        ([], "keras.json holds []; accepted: a JSON object"),
    ],
)
def test_a_keras_json_that_keras_cannot_read_is_refused(prepare, tmp_path, content, said):
    (tmp_path / "keras.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        prepare(KERAS_HOME=str(tmp_path))
    assert str(tmp_path) in str(error.value) and said in str(error.value)


def test_what_other_projects_chose_in_keras_json_is_no_mistake(prepare, tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax", "floatx": "float16", "nnx_enabled": true}')
    prepare(KERAS_HOME=str(tmp_path))
    assert (os.environ["KERAS_BACKEND"], os.environ["KERAS_NNX_ENABLED"]) == ("tensorflow", "false")
    (tmp_path / "keras.json").write_text('{"floatx": "flo')  # Keras passes over it
    prepare(KERAS_HOME=str(tmp_path), KERAS_BACKEND="")


@pytest.mark.parametrize(
    "variables, before, said",
    [
        ({"KERAS_BACKEND": "torch"}, "", "KERAS_BACKEND=torch is not accepted; accepted: tensorflow"),
        ({"MPLBACKEND": "Qt4Agg"}, "", "MPLBACKEND=Qt4Agg is not accepted by matplotlib; accepted: agg, or not set"),
        # Keras itself cannot be imported with another backend here, because none is installed.
        (
            {},
            "import sys, types; keras = types.SimpleNamespace(backend=lambda: 'jax'); keras.config = keras; "
            "sys.modules['keras'] = keras;",
            "Keras was imported before mlproject and has the backend jax; accepted: tensorflow (import mlproject before Keras)",
        ),
        # As in a container whose user is a number that the list of users lacks.
        (
            {"HOME": None},
            "import pwd; pwd.getpwuid = {}.__getitem__;",
            "HOME is not set, and this user has no home folder; accepted: HOME=FOLDER",
        ),
    ],
    ids=["keras", "matplotlib", "imported", "homeless"],
)
def test_commands_and_programs_refuse_in_one_line(tmp_path, variables, before, said):
    if "HOME" in variables:
        pytest.importorskip("pwd")
    surroundings = {name: value for name, value in (os.environ | variables).items() if value is not None}
    for program in ("import runpy; runpy.run_module('mlproject', alter_sys=True)", "from mlproject import program"):
        command_line = [sys.executable, "-c", before + program, "report"]
        done = subprocess.run(command_line, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stderr, done.stdout) == (2, f"error: {said}\n", "")


HOSTILE = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
    "PYTHONWARNINGS": "error",
    "MPLBACKEND": "TkAgg",
    "MPLCONFIGDIR": "/proc/nowhere",
    "HOME": "/proc",
    "TMPDIR": "/nowhere",
    "COLUMNS": "5",
    "TZ": "Nowhere/At All",
    "OMP_NUM_THREADS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_DETERMINISTIC_OPS": "1",
    "XLA_FLAGS": "--nonsense",
}


def test_a_network_is_the_same_in_a_hostile_environment(tmp_path):
    """Keras' defaults are another project's, home is read-only, warnings are errors, and the output takes ASCII only."""
    (tmp_path / "keras.json").write_text(
        '{"backend": "jax", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1}'
    )
    program = (
        "from mlproject import __main__ as commands; code = commands.main(); import keras; "
        "print(keras.config.dtype_policy().name, keras.config.image_data_format(), keras.config.epsilon()); "
        "print(keras.layers.Dense(1).dtype_policy.name); raise SystemExit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "explain", "--experiment", "fashion-mnist-mlp"],
        cwd=PROJECT,
        env=os.environ | HOSTILE | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert r"28 \xd7 28 \xd7 1" in done.stdout and "602112" in done.stdout
    assert done.stdout.endswith("float32 channels_last 1e-07\nfloat32\n")


def draw(names):
    labels = np.arange(10 * len(names)) % len(names)
    return plots.confusion_matrix(labels, np.roll(labels, 1), names, title=f"Is it {names[0]}?")


def test_figures_are_the_same_whatever_matplotlibrc_says(tmp_path):
    draw(["a", "$x$"]).savefig(tmp_path / "usual.png")
    theirs = {
        "text.usetex": True,
        "font.family": "cursive",
        "font.size": 30,
        "axes.facecolor": "black",
        "figure.facecolor": "black",
        "savefig.facecolor": "black",
        "savefig.dpi": 10,
        "savefig.bbox": "tight",
    }
    with matplotlib.rc_context(theirs):
        draw(["a", "$x$"]).savefig(tmp_path / "theirs.png")
    assert (tmp_path / "usual.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()


@pytest.fixture
def fonts(monkeypatch):
    """Leave only matplotlib's own fonts, and make the next warning the first one. New fonts can be added to the list."""
    monkeypatch.setattr(
        fontManager, "ttflist", [font for font in fontManager.ttflist if matplotlib.get_data_path() in font.fname]
    )
    monkeypatch.setattr(style, "findSystemFonts", list)
    monkeypatch.setattr(style, "_warned_packages", set())
    style._find_fonts.cache_clear()
    yield fontManager
    style._find_fonts.cache_clear()


@pytest.mark.parametrize(
    "name, packages",
    [
        ("猫", "fonts-noto-cjk (Debian, Ubuntu), google-noto-sans-cjk-fonts (Fedora), font-noto-sans-cjk (Homebrew)"),
        (
            "고양이",
            "fonts-noto-cjk (Debian, Ubuntu), google-noto-sans-cjk-fonts (Fedora), font-noto-sans-cjk (Homebrew)",
        ),
        (
            "बिल्ली",
            "fonts-noto-core (Debian, Ubuntu), google-noto-sans-devanagari-fonts (Fedora), font-noto-sans-devanagari",
        ),
        ("🦭", "fonts-symbola (Debian, Ubuntu), gdouros-symbola-fonts (Fedora), font-noto-emoji (Homebrew)"),
    ],
)
def test_one_warning_says_which_package_has_a_font_for_a_name(fonts, caplog, tmp_path, name, packages):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([name, "b"]).savefig(tmp_path / "figure.png")
        draw([name[:1], "c"]).savefig(tmp_path / "figure.png")
    (message,) = caplog.messages
    assert set(name) <= set(message) and packages in message


def test_names_in_fonts_that_come_with_matplotlib_need_no_other(fonts, caplog):
    figure = draw(["قطة", "γάτα", "кошка", "naïve"])
    assert not caplog.messages and {tuple(text.get_family()) for text in figure.findobj(Text)} == {(style.FONT,)}


def test_names_are_written_in_a_font_that_has_their_characters(fonts, caplog, tmp_path, monkeypatch):
    path = tmp_path / "cat.ttf"
    builder = FontBuilder(1000)
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.lineTo if place != (0, 0) else pen.moveTo)(place)
    pen.closePath()
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Cat Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    monkeypatch.setattr(style, "findSystemFonts", lambda: [str(path)])  # installed after matplotlib listed the fonts
    figure = draw(["猫", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of every character that a figure lacks
        FigureCanvasAgg(figure).draw()
    assert "mlproject.style" not in [record.name for record in caplog.records]
    assert {tuple(text.get_family()) for text in figure.findobj(Text)} == {(style.FONT, "Cat Sans")}

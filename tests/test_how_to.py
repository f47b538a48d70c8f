"""The example extensions of the how-to pages work."""

import dataclasses
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_prep import registry
from data_prep.registry import Registry
from data_prep.spec import DataSpec
from jaxcaps.data.source import Settings
from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics.base import WeightedPredictions
from jaxcaps.models import primary_capsules
from jaxcaps.models.stems.plain import PlainStage
from jaxcaps.nnx import DenseCaps
from jaxcaps.plan.config import Config
from jaxcaps.plan.flags import checked
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.training.loggers import LoggedRun, Loggers
from tests.networks import MODEL, drawn

ROOT = Path(__file__).parent.parent
# A block that starts with the path of a module is that module.
MODULE = re.compile(r"```python\n# ((?:jaxcaps|data_prep)/\S+\.py)\n(.*?)```", re.DOTALL)
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/how-to").glob("*.md"))}
MODULES = {path: code for page in PAGES.values() for path, code in MODULE.findall(page)}
ATTRIBUTES = {
    "data_prep/steps": "STEP",
    "jaxcaps/data/sources": "SOURCE",
    "jaxcaps/evaluation/metrics": "METRIC",
    "jaxcaps/functional/routing": "ROUTING",
    "jaxcaps/models/stems": "STEM",
    "jaxcaps/plan/presets": "PRESET",
    "jaxcaps/studies/arms": "ARM",
    "jaxcaps/tasks/pretraining": "TASK",
    "jaxcaps/training/loggers": "LOGGER",
}


def needs(folder):
    """Skips a test until the folder of extensions of its page exists."""
    return pytest.mark.skipif(not (ROOT / folder).is_dir(), reason=f"{folder} is not there yet")


@pytest.fixture
def extension(tmp_path, monkeypatch):
    """The extension that a page defines, found by a registry in a separate package."""

    def find(path):
        folder = str(Path(path).parent)
        package = tmp_path / f"of_page_{Path(path).stem}"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / Path(path).name).write_text(MODULES[path], encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        registry = Registry(package.name, ATTRIBUTES[folder], what="extension", separator="_")
        assert list(registry) == [Path(path).stem]
        return registry[Path(path).stem]

    return find


@pytest.mark.parametrize("path", MODULES)
def test_a_page_adds_a_new_file_to_a_folder_of_extensions(path):
    assert str(Path(path).parent) in ATTRIBUTES
    assert not (ROOT / path).exists()


def test_the_metric(extension):
    metric = extension("jaxcaps/evaluation/metrics/geometric_mean.py")
    # Recalls of 1, 1/2 and, in the second weighting, 1 and 0; the third has no example of class 1.
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    weights = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [1, 2, 0, 0], [0, 0, 0, 0]]).T
    value = metric.function(WeightedPredictions(labels, np.eye(2)[predicted], weights))
    np.testing.assert_allclose(value, [0.5**0.5, 0, 1, np.nan], atol=1e-12)
    assert metric.higher_is_better


def test_the_task(extension):
    task_class = extension("jaxcaps/tasks/pretraining/rotate.py")
    extended = dataclasses.make_dataclass(
        "Extended",
        [("rotate", task_class.settings, dataclasses.field(default_factory=task_class.settings))],
        bases=(Config,),
        frozen=True,
    )
    config = extended(**vars(preset("tiny", "ssl")) | {"model": MODEL})
    task_class.check(config)
    task = task_class.make(config, None)
    network = drawn(task)
    for path, _ in nnx.to_flat_state(nnx.state(network)):
        task_class.group_of("/".join(map(str, path)))

    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    numbers = np.arange(6, dtype=np.int32)
    examples = jax.tree.map(jnp.asarray, Examples(np.zeros(6, np.int32), numbers, numbers, numbers < 4))

    @jax.jit
    def views_of(images):
        return jax.vmap(task.views)(jax.random.split(jax.random.key(0), 6), images)

    @jax.jit
    def loss_of(views):
        return task.loss(network, views, examples, jnp.float32(0), Shard())

    views = views_of(images)
    loss, metrics = loss_of(views)
    assert np.isfinite(loss)
    assert {f"train/{name}" for name in metrics} >= {name for name in task.reported if name.startswith("train/")}
    # Padding is ignored.
    others = np.array(views.image)
    others[4:] = 0
    other = views._replace(image=jnp.asarray(others))
    np.testing.assert_array_equal(loss_of(other)[0], loss)


@needs("jaxcaps/data/sources")
def test_the_source(extension, tmp_path):
    source = extension("jaxcaps/data/sources/npy.py")
    folder = tmp_path / "data"
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    np.save(folder / "benign.npy", pictures[:2])
    np.save(folder / "malignant.npy", pictures[2:])
    spec, settings = DataSpec.parse(f"npy:{folder}", {"npy": source.place}), Settings(8, 1, 0)
    opened = source.open(spec, settings)
    assert [item.name for item in opened.items] == ["benign/0", "benign/1", "malignant/0"]
    assert [item.label for item in opened.items] == ["benign", "benign", "malignant"]
    np.testing.assert_array_equal([opened.read(index) for index in range(3)], pictures)
    np.save(folder / "malignant.npy", pictures[2:] / 255)
    with pytest.raises(UserError, match=r"malignant\.npy is float64"):
        source.open(spec, settings)


def test_the_routing(extension):
    routing = extension("jaxcaps/functional/routing/loudest.py")(sharpness=2.0)
    # Lengths 1 and 3, weighted e^2 to e^6.
    votes = np.array([[[1, 0], [0, 3]]], np.float32)
    routed = jax.jit(routing)(votes)
    shares = np.exp([2, 6]) / np.exp([2, 6]).sum()
    np.testing.assert_allclose(routed.couplings, shares[None], rtol=1e-5)
    lengths = shares * [1, 3]
    np.testing.assert_allclose(routed.activations, lengths**2 / (1 + lengths**2), rtol=1e-5)

    @jax.jit
    def layer(poses):
        return DenseCaps(6, 3, 8, 4, routing=routing, rngs=nnx.Rngs(0))(poses)

    assert layer(np.ones((5, 6, 8), np.float32)).poses.shape == (5, 3, 4)


def test_the_stem(extension):
    stem = extension("jaxcaps/models/stems/smooth.py")
    maps = np.ones((1, 16, 16, 3), np.float32)

    def staged(made, stage, model):
        return lambda maps: made(3, stage, model, nnx.Rngs(0))(maps)

    for name in ("tiny", "vgg", "paper224"):
        model = preset(name, "ssl").model
        for stage in model.stages:
            smooth, plain = (jax.eval_shape(staged(each, stage, model), maps) for each in (stem, PlainStage))
            assert smooth == plain
    model = preset("tiny", "ssl").model
    smooth, plain = (jax.jit(staged(each, model.stages[0], model))(maps) for each in (stem, PlainStage))
    # GELU does not clip all negative values.
    assert np.min(smooth) < 0 == np.min(plain)


@needs("data_prep/steps")
def test_the_step(extension):
    step = extension("data_prep/steps/gamma.py")
    assert step.switch == "gamma"
    options = step.options(gamma=True, gamma_exponent=0.5)
    image = np.array([[[0, 64, 255]]], np.uint8)
    # 255 sqrt(64 / 255) = 127.7
    np.testing.assert_array_equal(step.apply(image, None, options), [[[0, 128, 255]]])
    assert step.key(options) != step.key(step.options(gamma=True))
    assert step.line(options, None) == "exponent 0.5"


@pytest.mark.parametrize("stage", ["ssl", "finetune"])
def test_the_preset(extension, stage):
    config = checked(extension("jaxcaps/plan/presets/small32.py")(stage))
    assert config.data.image_size == 32
    assert primary_capsules(config.model, 32) == 256
    assert config.classify.loss == preset("small64", stage).classify.loss


def test_the_logger(extension, capsys):
    logger = extension("jaxcaps/training/loggers/console.py")
    with Loggers({"console": logger}, LoggedRun(Path("runs/one"), {}, "", (), 5)) as loggers:
        loggers.row({"step": 6, "train/loss": 0.5})
        loggers.picture("confusion", 6, Path("confusion.png"))
    lines = ["runs/one goes on from micro-step 5", "6 0.5", "6 confusion.png", "finished"]
    assert capsys.readouterr().out.splitlines() == lines


@needs("jaxcaps/studies/arms")
def test_the_arm(extension):
    arm = extension("jaxcaps/studies/arms/true_colours.py")
    config = preset("tiny", "ssl")
    changed = arm.pretrain(config, 3)
    assert (changed.augmentation.brightness, changed.augmentation.hue) == (0, 0)
    assert dataclasses.replace(changed, augmentation=config.augmentation) == config
    assert arm.reference == "random"


@pytest.fixture
def own_package(tmp_path):
    """The package of extend-outside.md as an installation leaves it: its modules, and metadata with entry points."""
    page = PAGES["extend-outside"]
    (project,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (name, module) = re.search(r"```python\n# mycapsules/(\w+)\.py\n(.*?)```", page, re.DOTALL).groups()
    modules = {Path(path).stem: code for path, code in MODULES.items()} | {name: module}
    described = tomllib.loads(project)["project"]
    site = tmp_path / "site"
    site.mkdir()
    metadata = site / f"{described['name']}-{described['version']}.dist-info"
    for folder in (site / "mycapsules", metadata):
        folder.mkdir()
    (site / "mycapsules" / "__init__.py").touch()
    lines = []
    for group, points in described["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        for value in points.values():
            name = value.removeprefix("mycapsules.")
            (site / "mycapsules" / f"{name}.py").write_text(modules[name], encoding="utf-8")
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    (metadata / "METADATA").write_text(f"Name: {described['name']}\nVersion: {described['version']}\n")
    return site


def test_a_package_of_ones_own_adds_extensions(own_package, monkeypatch):
    monkeypatch.syspath_prepend(own_package)
    registry.installed.cache_clear()
    monkeypatch.setattr(registry, "installed", registry.installed.__wrapped__)
    for package, attribute, name in (
        ("jaxcaps.functional.routing", "ROUTING", "loudest"),
        ("jaxcaps.tasks.pretraining", "TASK", "rotate"),
        ("jaxcaps.functional.augment", "AUGMENTATION", "stain"),
    ):
        found = Registry(package, attribute, what="extension")
        assert name in found
        assert found[name].__module__ == f"mycapsules.{name}"
    monkeypatch.setattr("mycapsules.stain.augment", lambda key, picture, *, size: picture[:size, :size])
    picture = np.random.default_rng(0).random((16, 16, 3), np.float32)
    stain = Registry("jaxcaps.functional.augment", "AUGMENTATION", what="augmentation")["stain"]
    view = jax.jit(lambda picture: stain(jax.random.key(0), picture, size=8))(picture)
    powers = np.log(view) / np.log(picture[:8, :8])
    np.testing.assert_allclose(powers, np.broadcast_to(powers[0, 0], powers.shape), atol=1e-3)
    assert len(set(powers[0, 0].tolist())) == 3
    assert ((powers > 0.69) & (powers < 1.41)).all()


@pytest.mark.slow
def test_commands_use_the_extensions_of_a_package_of_ones_own(own_package, tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(own_package), str(ROOT)])}

    def command(*arguments, environment=environment):
        call = [sys.executable, "-m", "jaxcaps.train", *arguments]
        return subprocess.run(call, capture_output=True, text=True, env=environment, cwd=tmp_path)

    assert "--rotate-hidden" in command("--help-all").stdout
    tiny = ("--preset=tiny", "--epochs=1", "--synthetic-count=60", "--no-report")
    own = ("--task=rotate", "--augmentation=stain", "--routing=loudest")
    made = command("--stage=ssl", *own, *tiny, "--out=ssl")
    assert made.returncode == 0, made.stderr
    assert "turns_found" in made.stdout
    # Where the package is not installed, its task does not matter, but its routing does.
    without = command("--stage=finetune", "--restore=ssl", environment=os.environ | {"PYTHONPATH": str(ROOT)})
    assert without.returncode == 2
    assert "loudest" in without.stderr

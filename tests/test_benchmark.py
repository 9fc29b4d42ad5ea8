"""The benchmark: resumable, exclusive, honest about what failed."""

import csv
import itertools
import json
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr

import tfxai
from tests.networks import small_cnn, trained_like
from tfxai import benchmark, metrics, scores
from tfxai.benchmark import Case, Results

L = keras.layers
BUILDERS = {"gradient": tfxai.gradient, "random": tfxai.random_attribution}
WITH_IG = BUILDERS | {"IG (8)": partial(tfxai.integrated_gradients, steps=8)}
TABLES = ("values", "summary", "comparisons", "curves")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def model():
    return small_cnn()


@pytest.fixture
def photos():
    return np.random.default_rng(0).random((7, 8, 8, 3)).astype("float32")


@pytest.fixture
def run(model, photos, tmp_path):
    """Run with short options, quietly, in an own directory."""

    def call(images=photos, methods=BUILDERS, chosen=("deletion", "gini"), of=model, **options):
        short = {"batch_size": 3, "verbose": 0, "images_in_report": 1, "out": tmp_path / "run"}
        options = {**short, **options}
        return benchmark.run(of, images, methods, chosen, **options)

    return call


def tables(directory):
    return {name: (directory / f"{name}.csv").read_bytes() for name in TABLES}


def test_values_are_those_of_the_metrics(run, model, photos):
    chosen = ["deletion", "insertion", "gini", "completeness", "degradation"]
    results = run(methods=WITH_IG, chosen=chosen)
    targets = model(photos).numpy().argmax(1)
    assert results.targets == targets.tolist()
    assert results.images == [str(i) for i in range(7)]
    for title, build in WITH_IG.items():
        record = build(model).explain(photos, targets, verbose=0)
        maps = record.attributions.sum(-1)
        options = {"substrate": "blur", "score": scores.probability}
        both = metrics.deletion_and_insertion(model, photos, maps, targets, **options)
        found = {metric: results.values(metric)[title] for metric in results.metrics}
        np.testing.assert_allclose(found["deletion"], both.deletion.auc, rtol=1e-4)
        np.testing.assert_allclose(found["insertion"], both.insertion.auc, rtol=1e-4)
        np.testing.assert_allclose(found["gini"], metrics.gini(maps), rtol=1e-5)
        expected = metrics.completeness(model, photos, record.attributions, targets)
        np.testing.assert_allclose(found["completeness"], expected, rtol=1e-3, atol=1e-4)
        curve = results.curve("deletion", title)
        np.testing.assert_allclose(curve.mean, both.deletion.scores.mean(0), rtol=1e-3)
        width = 2 * 1.96 * both.deletion.scores.std(0) / np.sqrt(7)
        np.testing.assert_allclose(curve.high - curve.low, width, rtol=0.25, atol=1e-6)
        assert (curve.low <= curve.mean + 1e-9).all()
        assert (curve.mean <= curve.high + 1e-9).all()
        seconds = [
            line["seconds"]["explain"] / len(line["images"])
            for line in results.lines
            if line.get("method") == title and "explain" in line["seconds"]
        ]
        assert len(seconds) == 3
        assert results.seconds(title) == np.median(seconds)


@pytest.mark.parametrize("sign", ["signed", "absolute"])
def test_maps_of_colours_are_compared_as_sums_over_channels(sign, run, model, photos):
    """The rank correlation of heatmaps, by scipy (docs/methods.md, Consistency and invariance)."""
    other = small_cnn()
    trained_like(other)
    measures = {
        "labels": benchmark.consistency(other=other),
        "weights": benchmark.consistency(stages=1),
        "shift": benchmark.invariance(shift=0.5),
        "again": benchmark.invariance(shift=0.5, retrained=other),
    }
    found = run(methods={"GI": tfxai.gradient_times_input}, chosen=measures, sign=sign)

    def heatmaps(of, inputs, targets=None):
        maps = tfxai.gradient_times_input(of).explain(inputs, targets, verbose=0).attributions
        return (maps if sign == "signed" else np.abs(maps)).sum(-1).reshape(len(maps), -1)

    def correlation(*pair):
        return [spearmanr(a, b).statistic for a, b in zip(*pair, strict=True)]

    targets = model(photos).numpy().argmax(1)
    here, moved = heatmaps(model, photos), metrics.shifted(model, 0.5)
    shifted = photos + np.float32(0.5)
    expected = {
        "labels": np.abs(correlation(here, heatmaps(other, photos))),
        "shift": correlation(here, heatmaps(moved, shifted, targets)),
        "again": correlation(here, heatmaps(other, shifted)),
        "weights": metrics.consistency(
            model, lambda x, t: heatmaps(model, x, t), photos, targets, stages=1
        ).mean,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found.values(name)["GI"], values, atol=1e-3, err_msg=name)


def test_every_metric_in_one_run(run, photos):
    regions = np.zeros((7, 8, 8), bool)
    regions[:, :4, :4] = True
    every = {name: factory() for name, factory in benchmark.METRICS.items()}
    every["sic"] = benchmark.sic(least=0.0)
    every["aic"] = benchmark.aic(least=0.0)
    results = run(methods=WITH_IG, chosen=every, regions=regions, bounds=(0, 1))
    assert results.failed == {}
    for name in every:
        values = np.array([results.values(name)[title] for title in WITH_IG])
        assert values.shape == (3, 7)
        there = np.isfinite(values)
        if name in ("sic", "aic"):  # where the image tells more than a blur of it, whatever the map
            np.testing.assert_array_equal(there, there[[0, 0, 0]])
            assert there[0].sum() >= 4
        else:
            assert there.all(), name
    assert (results.values("invariance")["gradient"] > 0.999).all()
    infidelity = {title: v.mean() for title, v in results.values("infidelity").items()}
    assert infidelity["IG (8)"] < infidelity["random"]
    html = (results.directory / "report.html").read_text()
    assert html.count("<img") >= 4
    assert "src='http" not in html
    for name in every:
        assert name in html


def test_a_second_call_computes_nothing(run, monkeypatch):
    first = run()
    before = tables(first.directory)
    monkeypatch.setattr(tfxai.Explainer, "explain", lambda *a, **k: pytest.fail("computed again"))
    rerun = run()
    assert tables(rerun.directory) == before
    assert len(rerun.lines) == len(first.lines)


def test_methods_and_metrics_may_be_added(run):
    part = run(methods={"gradient": tfxai.gradient}, chosen=["gini"])
    assert len(part.lines) == 3
    grown = run()
    assert len(grown.lines) == 3 + 6
    whole = run(out=grown.directory.with_name("whole"))
    assert tables(whole.directory) == tables(grown.directory)


def test_a_torn_line_is_computed_again(run):
    first = run()
    before = tables(first.directory)
    journal = first.directory / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    assert len(Results.load(first.directory).lines) == len(first.lines) - 1
    assert tables(run().directory) == before
    assert len(journal.read_bytes().splitlines()) == len(first.lines)
    journal.write_bytes(journal.read_bytes().replace(b"gini", b'gi"ni', 1))
    with pytest.raises(ValueError, match="line 1 is damaged"):
        run()


def test_what_the_directory_is_of_cannot_change(run, photos, model):
    run()
    other = small_cnn()
    other.set_weights([w + 0.1 for w in model.get_weights()])
    with pytest.raises(ValueError, match="has a run with model="):
        run(of=other)
    with pytest.raises(ValueError, match="with seed=0, not 1"):
        run(seed=1)
    with pytest.raises(ValueError, match="with batch_size=3, not 2"):
        run(batch_size=2)
    with pytest.raises(ValueError, match="other images, in batch 0"):
        run(images=photos[::-1])
    with pytest.raises(ValueError, match="a run with gradient as"):
        run(methods={"gradient": partial(tfxai.gradient, score=scores.margin)})
    with pytest.raises(ValueError, match="a run with deletion as"):
        run(chosen={"deletion": benchmark.deletion(substrate="mean")})


def test_a_method_that_fails_leaves_the_others(run, photos):
    def refused(model):
        return tfxai.gradient(model, score=lambda outputs, targets: outputs[:, 0, 0])

    methods = {"gradient": tfxai.gradient, "refused": refused}
    results = run(methods=methods, chosen=["gini"])
    assert set(results.failed) == {("refused", "gini")}
    assert [c.method for c in results.cells] == ["gradient"]
    assert "refused, gini" in (results.directory / "report.html").read_text()
    assert len(run(methods=methods, chosen=["gini"]).lines) == len(results.lines) + 3


def test_a_metric_that_fails_leaves_the_others(run):
    broken = benchmark.Metric(lambda s: 1 / 0, "more", {})
    results = run(chosen={"gini": benchmark.gini(), "broken": broken})
    assert set(results.failed) == set(itertools.product(BUILDERS, ["broken"]))
    assert np.isfinite(results.values("gini")["gradient"]).all()
    assert np.isnan(results.values("broken")["gradient"]).all()


class Mixed:
    """Cases of which some are broken."""

    def __init__(self, photos, broken=(1, 4), regions=None):
        self.photos, self.broken, self.regions = photos, broken, regions

    def __len__(self):
        return len(self.photos)

    def __iter__(self):
        for i, photo in enumerate(self.photos):
            if i in self.broken:
                yield benchmark.Broken(f"{i}.png", "cut off")
            else:
                yield Case(f"{i}.png", photo, i % 5)


def test_broken_images_are_named_and_skipped(run, photos):
    results = run(images=Mixed(photos))
    assert results.broken == {"1.png": "cut off", "4.png": "cut off"}
    assert results.images == [f"{i}.png" for i in (0, 2, 3, 5, 6)]
    assert results.targets == [0, 2, 3, 0, 1]
    assert "Skipped 1.png" in (results.directory / "report.html").read_text()
    assert len(run(images=Mixed(photos)).lines) == len(results.lines)
    whole = run(images=photos, targets=np.arange(7) % 5, out=results.directory.with_name("whole"))
    for i, at in enumerate([0, 2, 3, 5, 6]):
        np.testing.assert_allclose(
            results.values("deletion")["gradient"][i],
            whole.values("deletion")["gradient"][at],
            rtol=1e-5,
        )
    with pytest.raises(ValueError, match="none of them could be read"):
        run(images=Mixed(photos, range(7)), out=results.directory.with_name("none"))


def test_a_dataset_streams(run, photos):
    targets = np.arange(7) % 5
    dataset = tf.data.Dataset.from_tensor_slices((photos, targets)).batch(4)
    results = run(images=dataset)
    assert results.targets == targets.tolist()
    array = run(targets=targets, out=results.directory.with_name("array"))
    assert tables(results.directory) == tables(array.directory)
    plain = run(images=dataset.map(lambda x, y: x), out=results.directory.with_name("plain"))
    assert len(plain.targets) == 7


def test_tables_are_read_by_others(run):
    import pyarrow.parquet

    results = run()
    with (results.directory / "values.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    assert rows[0].keys() == {"image", "target", "method", "deletion", "gini"}
    found = [float(r["gini"]) for r in rows if r["method"] == "gradient"]
    np.testing.assert_array_equal(found, results.values("gini")["gradient"])
    read = pyarrow.parquet.read_table(results.directory / "values.parquet").to_pylist()
    assert [r["gini"] for r in read] == [float(r["gini"]) for r in rows]


def test_only_real_differences_are_told(run):
    images = np.random.default_rng(1).random((12, 8, 8, 3)).astype("float32")
    twice = {"one": tfxai.gradient, "same": tfxai.gradient, "random": tfxai.random_attribution}
    results = run(images=images, methods=twice, chosen=["gini", "completeness"])
    pairs = {(c.first, c.second): c for c in results.comparisons["gini"]}
    assert pairs["one", "same"].p == 1
    assert not pairs["one", "same"].significant
    assert pairs["one", "random"].significant
    best = {c.method: c.best for c in results.cells if c.metric == "gini"}
    assert best["one"] == best["same"] != best["random"]


def test_a_model_of_one_unit(run, photos):
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Flatten(), L.Dense(1, "sigmoid")])
    results = run(of=model, targets=1, methods=WITH_IG, chosen=["deletion", "completeness"])
    probability = model(photos).numpy()[:, 0]
    np.testing.assert_allclose(
        results.curve("deletion", "gradient").mean[0], probability.mean(), rtol=1e-4
    )
    assert (results.values("completeness")["IG (8)"] < 1e-3).all()
    with pytest.raises(ValueError, match="sic needs a model of several classes"):
        run(of=model, chosen=["sic"], bounds=(0, 1), out=results.directory.with_name("sic"))


@pytest.mark.parametrize("head", [None, "sigmoid"])
def test_heads(run, photos, head):
    """Logits and probabilities of every kind of head."""
    model = small_cnn(head=head)
    results = run(of=model, methods=WITH_IG, chosen=["deletion", "completeness"])
    outputs = model(photos).numpy()
    expected = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True) if head is None else outputs
    start = results.curve("deletion", "gradient").mean[0]
    assert start == pytest.approx(expected.max(1).mean(), rel=1e-4)
    assert (results.values("completeness")["IG (8)"] < 0.3).all()


def test_mixed_precision(run):
    results = run(of=small_cnn(policy="mixed_float16"), chosen=["deletion", "gini", "consistency"])
    assert results.failed == {}
    assert np.isfinite(results.values("deletion")["gradient"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": np.ones((0, 8, 8, 3))}, "images has shape"),
        ({"images": []}, "there are none"),
        ({"images": np.ones((2, 8, 8))}, r"expected \[N, H, W, C\]"),
        ({"targets": [1, 2]}, r"targets has shape \[2\]"),
        ({"targets": 9}, "9 is out of range"),
        ({"methods": {}}, "methods: none given"),
        ({"chosen": []}, "metrics: none given"),
        ({"chosen": ["delition"]}, "'delition' is none"),
        ({"chosen": ["pointing_game"]}, "pointing_game needs images whose class's place"),
        ({"chosen": ["sic"]}, "sic needs bounds="),
        ({"sign": "both"}, "sign='both'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"regions": np.ones((2, 8, 8))}, "regions: 2 for 7 images"),
        ({"images": [Case("a", np.ones((8, 8, 3))), Case("b", np.ones((8, 9, 3)))]}, "same shape"),
        ({"images": tf.data.Dataset.range(3).batch(2), "targets": 1}, "are for arrays"),
    ],
)
def test_bad_input(run, options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_bad_methods(run, model):
    with pytest.raises(TypeError, match=r"methods\['a'\]: expected a function"):
        run(methods={"a": tfxai.gradient(model)})
    with pytest.raises(TypeError, match="expected a dict"):
        run(methods=[tfxai.gradient])


def test_models_that_are_no_image_classifiers(run):
    table = keras.Sequential([keras.Input((5,)), L.Dense(2)])
    with pytest.raises(ValueError, match="no single declared input of images"):
        run(of=table)
    segment = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="no single output"):
        run(of=segment)


def test_a_directory_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file"):
        run(out=tmp_path / "file")
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="has no run"):
        Results.load(tmp_path / "other")
    (tmp_path / "other" / "settings.json").write_text(json.dumps([])[:1])
    with pytest.raises(ValueError, match="has no run"):
        run(out=tmp_path / "other")

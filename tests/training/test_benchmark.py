"""Published protocols: nothing that is chosen or fitted sees a test label, and figures are worked out by hand."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.settings import ROOT
from tests.training.benchmark_sets import noise_in_movies, write_beauty, write_movies
from training.__main__ import app
from training.benchmark.judges import CandidateJudge, RankingJudge, ndcg, precision, recall, reciprocal
from training.benchmark.protocol import Answer, Model, Protocol
from training.benchmark.protocols import PLACES, named
from training.benchmark.run import document, run, search, tuned
from training.benchmark.study import tune
from training.errors import DataError

SETS = ROOT.parent / "shared" / "data"
TINY = {"epochs": 1, "width": 4, "negatives": 8, "l2": 5.0}


def test_figures_of_two_users() -> None:
    ranked = np.array([[7, 3, 5], [1, 2, -1]])
    judge = RankingJudge(
        [np.array([3, 5, 9]), np.array([4])],
        {"p": precision(2), "r": recall(2), "n": ndcg(2), "whole": ndcg(2, whole_ideal=True), "mrr": reciprocal},
    )
    gains = 1 / np.log2([2, 3, 4])
    assert judge(Answer(ranked)) == {
        "p": pytest.approx(1 / 4),
        "r": pytest.approx(1 / 6),
        "n": pytest.approx(gains[1] / gains[:2].sum() / 2),
        "whole": pytest.approx(gains[1] / gains.sum() / 2),
        "mrr": pytest.approx(1 / 4),
    }


def test_a_target_is_ranked_among_candidates_alone() -> None:
    scores = np.array([[0.1, 0.9, 0.5, 0.8], [0.1, 0.9, 0.5, np.nan], [0.9, 0.1, 0.1, 0.1]])
    judge = CandidateJudge(np.array([2, 3, -1]), np.array([[0, 3], [0, 1], [1, 2]]), {"mrr": reciprocal})
    assert judge(Answer(scores))["mrr"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)


def test_rankings_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rankings for 2 users"):
        RankingJudge([np.array([1]), np.array([2])], {})(Answer(np.array([[1]])))


def parabola(asked: list[float]) -> Model[Any]:
    def objective(_: Any) -> Any:
        return lambda parameters: asked.append(parameters["x"]) or -((parameters["x"] - 3) ** 2) - parameters["y"] ** 2

    space = {"x": (1, 2, 3, 4), "y": (0, 1)}
    return Model(answer=lambda given: Answer(np.zeros(1)), objective=objective, space=space, defaults={"x": 1, "y": 1})


def test_a_study_finds_the_best_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked: list[float] = []
    model, file = parabola(asked), tmp_path / "trials.jsonl"
    assert tune(model, lambda: model.objective(None), file, lambda *_: None) == {"x": 3, "y": 0}
    done = len(asked)
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + '\n{"parameters": {"x"')  # killed while it wrote
    assert tune(model, lambda: model.objective(None), file, lambda *_: None) == {"x": 3, "y": 0}
    assert len(asked) == done + 1


def test_a_space_without_an_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an objective"):
        Model(answer=lambda given: Answer(np.zeros(1)), space={"x": (1,)}, defaults={"x": 1})


def small(protocol: Protocol[Any]) -> Protocol[Any]:
    """The protocol with models that take no time, each with one parameter to tune."""
    models = {}
    for name, model in protocol.models.items():
        defaults = {key: TINY.get(key, value) for key, value in model.defaults.items()}
        first = {key: values[:2] for key, values in [*model.space.items()][:2] if key not in TINY}
        if name == "two-tower":
            defaults |= {"width": 4, "negatives": 8, "epochs": 1}
        models[name] = dataclasses.replace(model, defaults=defaults, space=first)
    return dataclasses.replace(protocol, models=models)


def outcome(name: str, folder: Path, trials: Path) -> dict[str, Any]:
    protocol = small(named(name))
    problem, judge = protocol.load(folder)
    names = list(protocol.models)
    parameters = search(protocol, problem, names, trials, lambda *_: None, lambda *_: None, known=trials)
    results = run(protocol, problem, judge, names, (1, 2), parameters, lambda *_: None)
    return document(protocol, results, parameters, (1, 2))


@pytest.mark.parametrize("name", ["ml100k", "beauty-full", "beauty-99"])
def test_noise_in_place_of_the_test_labels_changes_no_parameter_and_no_model(name: str, tmp_path: Path) -> None:
    write = write_movies if name == "ml100k" else write_beauty
    found = outcome(name, write(tmp_path / "set"), tmp_path / "trials")
    if name == "ml100k":
        noise_in_movies(tmp_path / "set")
    else:
        write_beauty(tmp_path / "set", last=5)
    other = outcome(name, tmp_path / "set", tmp_path / "others")
    assert other["parameters"] == found["parameters"]
    assert other["digests"] == found["digests"]
    assert other["figures"] != found["figures"]  # the judge did see them
    assert len(found["digests"]["two-tower"]) == 2
    assert len(found["digests"]["item-knn"]) == 1  # no seed changes it


def test_the_order_in_which_a_file_names_items_tells_nothing(tmp_path: Path) -> None:
    """Beauty numbers its items as they appear, so that a user's test item often has the next free number."""
    problem, _ = named("beauty-full").load(write_beauty(tmp_path))
    first = problem.final.history(0)
    assert sorted(first.tolist()) != first.tolist() or np.diff(first).tolist() != [1] * (len(first) - 1)


def test_the_command_ends_with_one_document(tmp_path: Path) -> None:
    options = ["--data", str(write_movies(tmp_path)), "--seeds", "1", "--model", "popularity", "--model", "ease"]
    done = CliRunner().invoke(app, ["benchmark", "ml100k", *options, "--json", "--save", str(tmp_path / "saved.json")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["benchmark"] == "ml100k"
    assert found["metric"] == "ndcg@10"
    assert set(found["ours"]) == {"popularity", "ease"}
    assert found["best_ours"]["model"] == "ease"  # a baseline is never ours
    assert found["published_best"] == {"model": "SLIM ElasticNet", "value": 0.2957}
    assert found["reference"]["value"] == 0.2925
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert saved["ours"] == found["ours"]
    assert {"revision", "cores"} <= saved["machine"].keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["other"], "benchmark other: unknown"),
        (["ml100k", "--model", "x"], "--models x"),
        (["ml100k"], "no such folder"),
    ],
)
def test_what_cannot_be_run_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["benchmark", *arguments, "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_sequence_without_a_validation_item_is_refused(tmp_path: Path) -> None:
    import gzip

    write_beauty(tmp_path)
    (tmp_path / "Beauty.txt.gz").write_bytes(gzip.compress(b"1 2 3 4\n2 5 6\n"))
    with pytest.raises(DataError, match="1 of 2 rows have fewer than three items, first: 2"):
        named("beauty-full").load(tmp_path)


def test_stored_parameters_are_of_models_that_are_there() -> None:
    for name in PLACES:
        protocol = named(name)
        for model, parameters in tuned(protocol).items():
            assert parameters.keys() == protocol.models[model].defaults.keys(), f"{name}: {model}"


@pytest.mark.parametrize(("name", "popularity"), [("ml100k", 0.1361), ("beauty-full", 0.0068)])
def test_popularity_is_what_was_published(name: str, popularity: float) -> None:
    if not (SETS / named(name).folder).is_dir():
        pytest.skip(f"{SETS / named(name).folder} is absent: the published set is not redistributed")
    protocol = named(name)
    problem, judge = protocol.load(SETS / protocol.folder)
    results = run(protocol, problem, judge, ["popularity"], (1,), tuned(protocol), lambda *_: None)
    assert results["popularity"][0].figures["ndcg@10"] == pytest.approx(popularity, abs=0.001)

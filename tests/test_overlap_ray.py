"""Overlap, repeats and near-duplicates on a real Ray cluster of two CPUs equal those of one process (slow: a minute).

Needs the extra `ray`.
"""

import json
import random
import subprocess
import sys

import pandas as pd
import pytest

pytest.importorskip("ray")
from s1_utils import overlap_ray
from s1_utils.dedup import POLICIES, find_duplicates, find_overlaps
from s1_utils.errors import StudyError
from s1_utils.near_duplicates import find_pairs
from s1_utils.overlap_plants import make_plants, make_short_items
from s1_utils.sources import make_puzzles

PHRASE = "Give the answer as one whole number and nothing else."
pytestmark = [
    pytest.mark.slow,
    # Ray sets options of its own that it calls deprecated
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray"),
]


@pytest.fixture(scope="module")
def cluster():
    import ray

    environment = pytest.MonkeyPatch()
    environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()
    environment.undo()


def vary(text, rng):
    """The text with a word or two replaced: now and then still near enough."""
    words = text.split()
    for _ in range(rng.randint(1, 2)):
        words[rng.randrange(len(words))] = rng.choice(["seven", "of", "naïve", "x+1"])
    return " ".join(words)


@pytest.fixture(scope="module")
def data():
    """(texts, references): puzzles, plants in every disguise, repeats and variations, and what files do to texts."""
    rng = random.Random(0)
    puzzles = make_puzzles(400, seed=1)["question"].tolist()
    items = {f"item-{i}": text for i, text in enumerate(make_puzzles(60, seed=2)["question"])}
    items |= make_short_items(40, seed=3) | {"with-phrase": f"{puzzles[0]} {PHRASE}"}
    plants = [plant.text for plant in make_plants(items, puzzles[:50], per_kind=20, seed=4)]
    copies = [rng.choice([str.upper, str.strip, lambda t: t.replace(" ", "\n ")])(t) for t in rng.sample(puzzles, 80)]
    varied = [vary(text, rng) for text in rng.sample(puzzles, 300)]
    odd = ["", " ", "?!", "2024-01-01", "007", "two\u2028lines\u0085of one", "half \ud83d a pair", "NULL", "ﬁne naïve"]
    phrased = [f"{text} {PHRASE}" for text in puzzles[:40]]
    every = [*puzzles, *phrased, *plants, *copies, *varied, *odd, *odd]
    rng.shuffle(every)
    texts = {f"{number:05d}": text for number, text in enumerate(every)}
    return texts, {"puzzles": items, "short": {"s": "What is $12+34$?", "t": "007"}}


def write_shards(folder, texts, count, ending):
    """Shards of unequal sizes, the last one empty (as filters leave them)."""
    folder.mkdir()
    ids = list(texts)
    edges = [0, *sorted(random.Random(count).sample(range(1, len(ids)), count - 1)), len(ids), len(ids)]
    for number in range(count + 1):
        rows = [{"id": i, "question": texts[i], "other": 1.5} for i in ids[edges[number] : edges[number + 1]]]
        path = folder / f"shard-{number:02d}{ending}"
        if ending == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        else:
            pd.DataFrame(rows, columns=["id", "question", "other"]).astype({"id": str, "question": str}).to_parquet(
                path
            )
    return str(folder)


def make_shards(data, folder, count, ending):
    """A folder of shards and the texts in them; Parquet's strings can't hold half a surrogate pair."""
    texts = {i: text for i, text in data[0].items() if ending == ".jsonl" or "\ud83d" not in text}
    return write_shards(folder, texts, count, ending), texts


@pytest.fixture(scope="module", params=[(4, ".parquet"), (1, ".jsonl"), (6, ".jsonl")], ids=str)
def shards(request, data, tmp_path_factory):
    return make_shards(data, tmp_path_factory.mktemp("shards") / "train", *request.param)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_matches_of_shards_are_those_of_the_whole(cluster, shards, data, policy, tmp_path):
    folder, texts = shards
    expected = find_overlaps(texts, data[1], POLICIES[policy])
    assert {match.boilerplate for match in expected} == ({False, True} if policy == "audited" else {False})
    out = tmp_path / "overlaps.jsonl"
    assert overlap_ray.scan_shards(folder, data[1], POLICIES[policy], out=str(out), concurrency=2) == expected
    assert len(out.read_text("utf-8").splitlines()) == len(expected)


def test_the_repeats_of_shards_are_those_of_the_whole(cluster, shards):
    folder, texts = shards
    expected = find_duplicates(texts)
    assert len(expected) > 80
    assert overlap_ray.find_duplicates_by_shuffle(folder, buckets=7) == expected


def test_the_near_duplicates_of_shards_are_those_of_the_whole(cluster, shards):
    folder, texts = shards
    expected = find_pairs(texts)
    assert len(expected) > 80
    assert overlap_ray.find_pairs_by_shuffle(folder, buckets=7) == expected


@pytest.mark.parametrize(("buckets", "threshold", "k"), [(1, 0.5, 3), (16, 1.0, 1), (16, 0.9, 2)])
def test_buckets_thresholds_and_lengths_change_the_work_only(cluster, data, tmp_path, buckets, threshold, k):
    folder, texts = make_shards(data, tmp_path / "train", 3, ".parquet")
    expected = find_pairs(texts, threshold=threshold, k=k)
    assert len(expected) > 80
    assert overlap_ray.find_pairs_by_shuffle(folder, threshold=threshold, k=k, buckets=buckets) == expected


def test_ids_may_be_numbers_and_shards_a_glob_a_file_or_a_list(cluster, tmp_path):
    for number, ids in enumerate([[10, 9], [2, 11]]):
        rows = [{"key": i, "text": f"What is {i % 2}?"} for i in ids]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{number}.parquet")
    fields = {"field": "text", "id_field": "key", "buckets": 2}
    files = [str(tmp_path / "1.parquet"), str(tmp_path / "0.parquet")]
    for train in (str(tmp_path / "?.parquet"), files):
        assert overlap_ray.find_duplicates_by_shuffle(train, **fields) == {10: 2, 11: 9}
    assert overlap_ray.find_duplicates_by_shuffle(files[0], **fields) == {}


# ------------------------------------------------------------------ what is refused, in one line


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
@pytest.mark.parametrize("id_field", ["question_id", None])
def test_a_missing_id_field_is_refused_before_ray_starts(tmp_path, ending, id_field):
    table = pd.DataFrame({"question": ["What is 2 + 2?"], "key": ["a"]})
    path = str(tmp_path / f"one{ending}")
    table.to_parquet(path) if ending == ".parquet" else table.to_json(path, orient="records", lines=True)
    with pytest.raises(StudyError, match=r"one\.\w+ has no field .*question_id.*: say which .* with id_field") as error:
        overlap_ray.scan_shards(str(tmp_path), {}, id_field=id_field)
    assert "\n" not in str(error.value)


def test_a_row_that_only_a_worker_reads_is_refused_in_the_same_line(cluster, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "What is 2 + 2?"}\n')
    (tmp_path / "b.jsonl").write_text('{"id": 2, "question": "What is 2 + 2?"}\n{"id": 3, "question": 4}\n')
    with pytest.raises(StudyError, match=r"b\.jsonl, row 1: question is 4, not a string\.$") as error:
        overlap_ray.scan_shards(str(tmp_path), {"e": {"x": "two"}})
    assert "\n" not in str(error.value)


def test_no_shards_and_silly_bounds_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no shard")
    with pytest.raises(StudyError, match=r"^No shards at .*: give a folder of"):
        overlap_ray.find_duplicates_by_shuffle(str(tmp_path))
    with pytest.raises(ValueError, match="threshold"):
        overlap_ray.find_pairs_by_shuffle(str(tmp_path), threshold=0)


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "What is 2 + 2?"}\n')
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"pip install 's1-study\[ray\]'$"):
        overlap_ray.scan_shards(str(tmp_path), {})


def test_a_cluster_of_its_own_is_quiet_and_gone_afterwards(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1, "question": "What is 2 + 2?"}\n')
    code = (
        "from s1_utils.overlap_ray import scan_shards; import ray\n"
        f"matches = scan_shards({str(tmp_path)!r}, {{'e': {{'x': 'what is 2+2'}}}}, concurrency=1)\n"
        "print([(m.train_id, m.eval_id, m.rule) for m in matches], ray.is_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[(1, 'x', 'short')] False"
    assert "Traceback" not in done.stderr

"""From votes to a constitution: reading, grouping, agreeing, selecting, rewriting, editing."""

import csv
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from cai.collective import group
from cai.collective.__main__ import main
from cai.collective.agree import bootstrap_consensus, group_aware, shares, tallies
from cai.collective.clean import Rules, clean
from cai.collective.diff import difference
from cai.collective.read import read_polis
from cai.collective.rewrite import rewrite, rewrite_by_model
from cai.collective.select import Choices, read_choices, select
from cai.collective.similar import similarity
from cai.constitution import load_constitution
from cai.records import InputError

STATEMENTS = ("The AI should be honest.", "AI should be honest!", "AI should never lie.",
              "The AI should tell jokes.", "A rejected one", "Nobody looked at this one")


def write_csv(path: Path, rows: list) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def export(folder: Path, votes: list[list], statements=STATEMENTS,
           moderated=(1, 1, 1, 1, -1, 0)) -> Path:
    """A Polis export with an xid; `votes` is a row of cells a participant, "" for not seen."""
    folder.mkdir(exist_ok=True)
    count = len(statements)
    write_csv(folder / "comments.csv", [
        ["comment-id", "author-id", "agrees", "disagrees", "is-seed", "moderated", "comment-body"],
        *([number, 7, 0, 0, "true", moderated[number], statements[number]]
          for number in reversed(range(count)))])
    write_csv(folder / "participants-votes.csv", [
        ["participant", "xid", "group-id", "n-comments", "n-votes", "n-agree", "n-disagree",
         *range(count)],
        *([number, f"secret-{number}", number % 2 if number else "", 0, 0, 0, 0, *row]
          for number, row in enumerate(votes))])
    return folder


def two_camps(people: int = 12) -> list[list]:
    """All agree on 0 to 2; of statement 3 even participants hold much, odd ones nothing."""
    return [[1, 1, 1 if number % 5 else 0, 1 if number % 2 == 0 else -1, "", ""]
            for number in range(people)]


def test_a_table_and_a_log_of_votes_read_alike(tmp_path):
    rows = [[1, -1, 0, "", "", 1], ["", 1, 1, -1, "", ""]]
    read = read_polis(export(tmp_path / "a", rows))
    assert [each.id for each in read.statements] == ["0", "1", "2", "3", "4", "5"]
    assert [each.moderated for each in read.statements] == [1, 1, 1, 1, -1, 0]
    assert read.participants == ("0", "1") and read.groups == (None, "1")
    np.testing.assert_equal(read.votes, np.array(
        [[1, -1, 0, np.nan, np.nan, 1], [np.nan, 1, 1, -1, np.nan, np.nan]], dtype=np.float32))
    (tmp_path / "a" / "participants-votes.csv").unlink()
    write_csv(tmp_path / "a" / "votes.csv", [
        ["timestamp", "comment-id", "voter-id", "vote"],
        [1, 1, 1, -1], [2, 0, 0, 1], [3, 1, 0, -1], [4, 2, 0, 0], [5, 5, 0, 1],
        [6, 2, 1, 1], [7, 3, 1, -1], [8, 1, 1, 1]])  # the first vote is changed by the last
    log = read_polis(tmp_path / "a")
    np.testing.assert_equal(log.votes, read.votes)
    assert log.groups == (None, None)


@pytest.mark.parametrize(("file", "line", "column", "value", "told"), [
    ("participants-votes.csv", 3, 9, "2", r"participants-votes.csv:3: found vote '2' on statement"),
    ("participants-votes.csv", 3, 9, "1.0", r":3: found vote '1.0' on statement 2"),
    ("participants-votes.csv", 1, 9, "77", r":1: found a column of statement '77'"),
    ("participants-votes.csv", 3, 0, "0", r":3: found participant 0 again"),
    ("participants-votes.csv", 1, 0, "person", r":1: found no column 'participant'"),
    ("comments.csv", 3, 0, "5", r"comments.csv:3: found statement id '5'"),
    ("comments.csv", 3, 5, "yes", r"comments.csv:3: found moderated 'yes'"),
])
def test_bad_cells_are_named_by_file_and_row(tmp_path, capsys, file, line, column, value, told):
    folder = export(tmp_path, two_camps())
    rows = list(csv.reader((folder / file).open(encoding="utf-8")))
    rows[line - 1][column] = value
    write_csv(folder / file, rows)
    with pytest.raises(InputError, match=told):
        read_polis(folder)
    assert main(["--polis", str(folder), "--out", str(tmp_path / "x.toml")]) == 2
    told_on_stderr = capsys.readouterr().err
    assert told_on_stderr.count("\n") == 1 and told_on_stderr.startswith("error: ")
    assert not (tmp_path / "x.toml").exists()


def test_bad_logs_and_bad_shapes_are_named(tmp_path):
    folder = export(tmp_path, two_camps())
    table = folder / "participants-votes.csv"
    table.write_text(table.read_text() + "99,x,0\n")
    with pytest.raises(InputError, match=r":14: found 3 cells, expected 13"):
        read_polis(folder)
    table.unlink()
    with pytest.raises(InputError, match="votes.csv: found no readable CSV"):
        read_polis(folder)
    for row, told in (([1, 9, 0, 1], ":2: found a vote on statement '9'"),
                      ([1, 0, 0, 3], ":2: found vote '3'")):
        write_csv(folder / "votes.csv", [["timestamp", "comment-id", "voter-id", "vote"], row])
        with pytest.raises(InputError, match=told):
            read_polis(folder)


def test_nothing_accepted_nobody_left_and_fewer_people_than_groups(tmp_path, capsys):
    folder = export(tmp_path / "none", two_camps(), moderated=(0, 0, -1, -1, -1, 0))
    assert main(["--polis", str(folder), "--out", str(tmp_path / "x.toml")]) == 2
    assert "comments.csv: found no accepted statement among 6 rows" in capsys.readouterr().err
    folder = export(tmp_path / "few", two_camps(3))
    assert main(["--polis", str(folder), "--out", str(tmp_path / "x.toml"), "--k", "4"]) == 2
    assert f"error: {folder}: found 3 participants" in capsys.readouterr().err
    assert main(["--polis", str(folder), "--out", str(tmp_path / "x.toml"),
                 "--min-votes", "4"]) == 2
    assert "found nobody among 3 participants with more than 4 votes" in capsys.readouterr().err


def test_cleaning_counts_votes_before_it_drops_statements(tmp_path):
    rows = [[1, 1, "", "", 1, 1], [1, 1, 1, "", "", ""], [1, 1, "", "", "", ""]]
    read = read_polis(export(tmp_path, rows))
    kept, counts = clean(read, Rules(drop=frozenset({"1"}), min_votes=3))
    assert kept.participants == ("0",)
    assert [each.id for each in kept.statements] == ["0", "1", "2", "3"]
    assert [(each.participants, each.statements) for each in counts] == [
        (3, 6), (2, 6), (1, 6), (1, 4)]
    more, _ = clean(read, Rules(min_votes=2, unmoderated=True))
    assert more.participants == ("0", "1") and len(more.statements) == 5


def test_axes_agree_with_another_library():
    filled = np.random.default_rng(0).normal(size=(30, 9))
    transposed, usual = PCA(2).fit(filled.T), PCA(2).fit(filled)
    for name, expected, shares_ in (
            ("published", transposed.components_.T, transposed.explained_variance_ratio_),
            ("usual", usual.transform(filled), usual.explained_variance_ratio_)):
        axes, explained = group.project(filled, name)
        np.testing.assert_allclose(np.abs(axes), np.abs(expected), atol=1e-10)
        np.testing.assert_allclose(explained, shares_)
        assert (axes.max(axis=0) == np.abs(axes).max(axis=0)).all()
    with pytest.raises(ValueError, match="pca"):
        group.project(filled, "other")


def test_too_few_votes_for_axes_still_place_everyone():
    assert group.project(np.array([[1.0, -1.0]]))[0].shape == (1, 2)
    axes, explained = group.project(np.ones((3, 1)))
    np.testing.assert_array_equal(axes, np.zeros((3, 2)))
    np.testing.assert_array_equal(explained, [0, 0])


def test_imputation_by_hand():
    votes = np.array([[1, np.nan, np.nan], [-1, 1, np.nan], [np.nan, 0, np.nan]])
    np.testing.assert_equal(group.impute(votes, "zero"), [[1, 0, 0], [-1, 1, 0], [0, 0, 0]])
    np.testing.assert_equal(group.impute(votes, "mean"), [[1, .5, 0], [-1, 1, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="imputation"):
        group.impute(votes, "median")


def test_silhouette_and_clusters_agree_with_another_library():
    generator = np.random.default_rng(1)
    points = np.concatenate([generator.normal(c, 1.0, size=(40, 2)) for c in (0, 3, 7)])
    labels, centres = group.kmeans(points, 3, generator, restarts=5)
    other = KMeans(3, n_init=5, random_state=0).fit(points)
    np.testing.assert_allclose(np.sort(centres, axis=0), np.sort(other.cluster_centers_, axis=0),
                               atol=1e-3)
    assert group.silhouette(points, labels) == pytest.approx(silhouette_score(points, labels))
    alone = np.array([*labels[:-1], 9])
    assert group.silhouette(points, alone) == pytest.approx(silhouette_score(points, alone))
    with pytest.raises(ValueError, match="one cluster"):
        group.silhouette(points, np.zeros(len(points)))


def test_groups_are_seeded_and_their_number_is_found():
    generator = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2], (80, 50, 30))
    axes = np.array([[0, 0], [9, 0], [0, 9]])[truth] + generator.normal(size=(160, 2))
    found = group.opinion_groups(axes, np.random.default_rng(0))
    assert found.sizes == [80, 50, 30]
    np.testing.assert_array_equal(found.labels, truth)
    assert max(found.silhouettes, key=found.silhouettes.get) == 3
    again = group.opinion_groups(axes, np.random.default_rng(0))
    np.testing.assert_array_equal(found.labels, again.labels)
    assert len(group.opinion_groups(axes, np.random.default_rng(0), k=2).sizes) == 2


def test_consensus_by_hand():
    votes = np.array([[1, np.nan], [1, -1], [0, 1], [-1, np.nan], [1, np.nan], [1, 1]])
    labels = np.array([0, 0, 0, 1, 1, -1])
    tallied = tallies(votes, labels)
    np.testing.assert_array_equal(tallied, [[[2, 0, 1], [1, 1, 0]], [[1, 1, 0], [0, 0, 0]]])
    np.testing.assert_allclose(shares(tallied), [[2 / 3, 1 / 2], [1 / 2, np.nan]])
    np.testing.assert_allclose(group_aware(tallied), [3 / 5 * 2 / 4, 2 / 4 * 1 / 2])
    np.testing.assert_allclose(group_aware(tallied, smoothed=False), [1 / 3, np.nan])


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    """One group, unsmoothed: a share of 60 votes; 200 publics of which about 95 % are covered."""
    generator = np.random.default_rng(3)
    votes = np.where(generator.random((60, 200)) < 0.7, 1.0, -1.0)
    bounds = bootstrap_consensus(votes, np.zeros(60, dtype=int), generator, smoothed=False)
    covered = ((bounds[:, 0] <= 0.7) & (0.7 <= bounds[:, 1])).mean()
    assert 0.88 <= covered <= 0.99
    spread = 1.96 * np.sqrt(0.7 * 0.3 / 60)
    np.testing.assert_allclose(bounds.mean(axis=0), [0.7 - spread, 0.7 + spread], atol=0.012)


def test_bootstrap_draws_within_groups_and_knows_what_it_does_not():
    votes = np.array([[1, np.nan]] * 5 + [[-1, np.nan]] * 5)
    labels = np.repeat([0, 1], 5)
    bounds = bootstrap_consensus(votes, labels, np.random.default_rng(0), 50, smoothed=False)
    np.testing.assert_equal(bounds, [[0, 0], [np.nan, np.nan]])
    smooth = bootstrap_consensus(votes, labels, np.random.default_rng(0), 50)
    np.testing.assert_allclose(smooth, [[6 / 7 / 7] * 2, [1 / 4] * 2])


def test_likeness_sees_words_and_denials():
    scores = similarity(["The AI should be honest", "AI should be honest!",
                         "AI shouldn't be honest", "The AI should help with recipes", ""])
    np.testing.assert_allclose(scores, scores.T)
    assert scores[0, 1] > 0.8 and scores[0, 2] == 0.0 and scores[0, 3] < 0.4
    assert scores[0, 0] == pytest.approx(1.0) and scores[4].sum() == 0.0


def test_selection_keeps_each_idea_once_and_obeys_choices(tmp_path):
    ids, consensus = ["0", "1", "2", "3"], np.array([0.8, 0.9, 0.75, 0.3])
    texts = STATEMENTS[:4]
    found = select(ids, texts, consensus, 0.5)
    assert found.above == ("1", "0", "2") and found.selected == ("1", "2")
    assert found.said_by("1") == ("1", "0") and found.said_by("2") == ("2",)
    assert [(each.dropped, each.kept) for each in found.duplicates] == [("0", "1")]
    assert select(ids, texts, consensus, None, top=1).selected == ("1",)
    assert select(ids, texts, consensus, 0.8).above == ("1", "0"), "the threshold itself passes"
    assert select(ids, texts, consensus, 0.5, alike=2.0).selected == ("1", "0", "2")
    path = tmp_path / "choices.toml"
    path.write_text('drop = ["2"]\nkeep = ["3"]\ndifferent = [["0", "1"]]\n')
    assert select(ids, texts, consensus, 0.5, choices=read_choices(path)).selected == ("1", "0",
                                                                                       "3")
    same = Choices(same=frozenset({frozenset({"1", "2"})}))
    assert select(ids, texts, consensus, 0.5, choices=same).selected == ("1",)
    with pytest.raises(InputError, match="found statement '9'"):
        select(ids, texts, consensus, 0.5, choices=Choices(drop=frozenset("9")))
    path.write_text('same = [["1"]]')
    with pytest.raises(InputError, match="same.*pairs of ids"):
        read_choices(path)


@pytest.mark.parametrize(("statement", "principle", "revision"), [
    ("The AI should be kind.", "Choose the response that is most kind.",
     "Rewrite the reply to be kind."),
    ("AI shouldn\u2019t be scary", "Choose the response that is least scary.",
     "Rewrite the reply so as not to be scary."),
    ("\u201cThe AI should be as helpful to the user as possible.\u201d",
     "Choose the response that is most helpful to the user.",
     "Rewrite the reply to be as helpful to the user as possible."),
    ("AI must never encourage racism", "Choose the response that does least to encourage racism.",
     "Rewrite the reply so as not to encourage racism."),
    ("The AI should always be an assistant.", "Choose the response that does most to be an "
     "assistant.", "Rewrite the reply to be an assistant."),
    ("AI should not give advice unless asked", "Choose the response that best agrees with this: "
     "AI should not give advice unless asked.",
     "Rewrite the reply so that it agrees with this: AI should not give advice unless asked."),
    ("People matter", "Choose the response that best agrees with this: People matter.",
     "Rewrite the reply so that it agrees with this: People matter."),
    ("A good reply avoids violence or cruelty.",
     "Choose the reply that avoids violence or cruelty.",
     "Write the reply again without violence or cruelty."),
    ("A good reply is short.", "Choose the reply that is short.", "Write a reply that is short."),
])
def test_statements_are_rewritten_by_rule(statement, principle, revision):
    wording = rewrite(statement)
    assert (wording.principle, wording.revision_request) == (principle, revision)


def test_a_denial_never_loses_its_denial():
    for verb in ("lie", "be rude", "be used for scams", "tell jokes"):
        yes, no = rewrite(f"The AI should {verb}."), rewrite(f"The AI should not {verb}.")
        assert " most " in yes.principle and " least " in no.principle
        assert "not to" in no.revision_request and "not" not in yes.revision_request


def test_a_model_rewrites_where_it_keeps_the_shape():
    asked = []

    def sample(prompts, keys):
        asked.extend(prompts)
        return [" Choose the response that is calmest.\nCritique: Say what is not calm.\n"
                "Revision: Write it calmly.\n\nStatement: more", "I would rather not."]

    first, second = rewrite_by_model(["AI should be calm", "AI should be fair"], sample,
                                     seed=0)
    assert first.principle == "Choose the response that is calmest."
    assert first.revision_request == "Write it calmly." and first.rule == "model"
    assert second == rewrite("AI should be fair")
    assert asked[0].endswith("Statement: AI should be calm\nPrinciple:")


@pytest.fixture
def built(tmp_path) -> list[str]:
    """The arguments of a build that was done once."""
    folder = export(tmp_path / "polis", two_camps(40))
    arguments = ["--polis", str(folder), "--out", str(tmp_path / "x.toml"), "--threshold", "0.5",
                 "--rounds", "200", "--groups", "export"]
    assert main(arguments) == 0
    return arguments


def test_the_files_of_a_build(built, tmp_path):
    report = json.loads((tmp_path / "x.json").read_text())
    assert report["participants"] == 40 and report["statements"] == 4
    assert report["group_sizes"] == [19, 20] and report["selected"] == ["0", "2"]
    first = report["consensus"]["0"]
    assert first["groups"] == [1.0, 1.0]
    assert first["group_aware"] == pytest.approx(20 / 21 * 21 / 22)
    assert report["consensus"]["3"]["groups"] == [1.0, 0.0]
    low, high = report["consensus"]["2"]["interval"]
    assert low <= report["consensus"]["2"]["group_aware"] <= high
    constitution = load_constitution(tmp_path / "x.toml")
    assert [each.id for each in constitution.feedback] == ["s0", "s2"]
    assert [each.id for each in constitution.revisions] == ["s0", "s2"]
    origin = tomllib.loads((tmp_path / "x.toml").read_text())["feedback"][0]["origin"]
    assert origin["statements"] == ["0", "1"]
    assert origin["votes"] == 39, "participant 0 is in no group"
    assert origin["consensus"] == pytest.approx(first["group_aware"], abs=1e-4)
    assert origin["interval"] == pytest.approx(first["interval"], abs=1e-4)
    written = (tmp_path / "x.toml").read_text() + (tmp_path / "x.json").read_text()
    assert "secret" not in written


def test_a_rebuild_changes_nothing_and_keeps_edits(built, tmp_path):
    path = tmp_path / "x.toml"
    as_built = path.read_text()
    assert main(built) == 0
    assert path.read_text() == as_built
    edited = as_built.replace("Choose the response that is most honest.", "Prefer the 'true' one.")
    edited += '\n[[feedback]]\nid = "mine"\nprinciple = "Choose mine."\n'
    path.write_text(edited)
    assert main([*built, "--seed", "5"]) == 0
    assert [each.principle for each in load_constitution(path).feedback] == [
        "Prefer the 'true' one.", "Choose the response that does least to lie.", "Choose mine."]
    assert main([*built, "--overwrite"]) == 0
    assert path.read_text() == as_built


def test_conflicts_with_edits_are_named_and_nothing_is_written(built, tmp_path, capsys):
    path = tmp_path / "x.toml"
    edited = path.read_text().replace("Choose the response that does least to lie.", "No lies.")
    path.write_text(edited)
    assert main([*built, "--threshold", "0.8"]) == 2
    assert "feedback s2 was edited by hand, but is no longer selected" in capsys.readouterr().err
    comments = tmp_path / "polis" / "comments.csv"
    comments.write_text(comments.read_text().replace("AI should never lie.", "AI should be true."))
    assert main(built) == 2
    told = capsys.readouterr().err
    assert "feedback s2 was edited by hand, but is now generated otherwise" in told
    assert "is most true" in told and "revision s2" not in told
    assert path.read_text() == edited
    lines = edited.splitlines()
    at = lines.index('principle = "No lies."')
    path.write_text("\n".join([*lines[:at + 1], *lines[at + 2:]]))
    assert main(built) == 0, "without its origin it is the person's own"
    assert load_constitution(path).feedback[1].principle == "No lies."
    path.write_text(path.read_text().replace("written = ", "wrote = "))
    assert main(built) == 2
    assert "x.toml:revision s0: found origin" in capsys.readouterr().err


def test_a_principle_taken_out_by_hand_does_not_come_back(built, tmp_path, capsys):
    path = tmp_path / "x.toml"
    blocks = [block for block in path.read_text().split("\n\n") if 'id = "s2"' not in block]
    path.write_text("\n\n".join(blocks))
    assert main(built) == 2
    assert "s2 was taken out by hand" in capsys.readouterr().err
    choices = tmp_path / "choices.toml"
    choices.write_text('drop = ["2"]')
    assert main([*built, "--choices", str(choices)]) == 0
    assert [each.id for each in load_constitution(path).feedback] == ["s0"]


def test_constitutions_are_compared(built, tmp_path, capsys):
    found = difference(["Choose the kind reply.", "Choose the short reply.", "Choose truth."],
                       ["Choose truth.", "Choose the long reply."], alike=0.9)
    assert found.shared == (("Choose truth.", "Choose truth.", 1.0),)
    assert found.only_first == ("Choose the kind reply.", "Choose the short reply.")
    assert found.only_second == ("Choose the long reply.",)
    capsys.readouterr()
    assert main(["--diff", str(tmp_path / "x.toml"), "constitutions/small.toml"]) == 0
    told = capsys.readouterr().out
    assert "shared: 0\nonly in A: 2\n" in told and "only in B: 16" in told


def test_the_picture_and_the_sensitivity_table(built, tmp_path):
    assert main([*built, "--figure", str(tmp_path / "x.png"),
                 "--sensitivity", str(tmp_path / "x.md")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    table = (tmp_path / "x.md").read_text()
    rows = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in (
        line.strip("| ").split("|") for line in table.splitlines() if line.startswith("|"))}
    assert rows["as given"] == ["19 / 20", "3", "2", "0", "0"]
    assert rows["not smoothed"][1:] == ["3", "2", "0", "0"]
    assert rows["the export's groups"] == rows["as given"] == rows["seed 3"]
    assert rows["more than 7 votes"] == ["-"] * 5, "nobody voted that often"
    assert rows["all duplicates kept"][2] == "3"
    assert "under all with 2 groups: 2" in table

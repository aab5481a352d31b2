"""Every file of the shared data: as many rows as its SOURCE.txt counts, and how many are used."""

import json
from pathlib import Path

import pytest

from cai.readers import find, read_prompts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PAPER = "ConstitutionalHarmlessnessPaper"
EVALS = "anthropics-evals"
POLIS = "polis-openData"
ALPACA = "alpaca-harmless-instructions/data/refusal_direction/harmless_train.json"
SAFE = "safety-tuned-llamas/data"

# (file, kind found by content, format, rows; used where fewer)
FILES = [
    *((f"BBQ/data/{name}.jsonl", "choices", "jsonl", rows) for name, rows in (
        ("Age", 3680), ("Disability_status", 1556), ("Physical_appearance", 1576),
        ("Religion", 1200))),
    (f"{PAPER}/evals/438HHHEvaluations.jsonl", "choices", "jsonl", 253),
    (f"{PAPER}/evals/HarmfulVsEthical.jsonl", "choices", "jsonl", 164),
    (f"{PAPER}/evals/HarmfulnessClassification.jsonl", "choices", "jsonl", 194),
    *((f"{PAPER}/prompts/{name}.json", "constitution", "json", rows) for name, rows in (
        ("CritiqueRevisionFewShotPrompts", 5), ("CritiqueRevisionInstructions", 16),
        ("RLMadisonFewShotPrompts", 5), ("RLMadisonInstructions", 16),
        ("RLMadisonPrecogFewShotPrompts", 6))),
    *((f"{PAPER}/samples/{prompts}_{model}.jsonl", "samples", "jsonl", 13)
      for prompts in ("INSTRUCTGPT", "LAMDA")
      for model in ("HHRLHF", "HRLHF", "RLMADISON", "RLMADISON_COT", "SLMADISON")),
    ("LLMBar/Dataset/LLMBar/Natural/dataset.json", "comparisons", "json", 100),
    ("LLMBar/Dataset/Processed/MT-Bench/dataset.json", "comparisons", "json", 200),
    ("PandaLM/data/testset-v1.json", "comparisons", "json", 742, 741),  # one blank instruction
    ("advbench/data/advbench/harmful_behaviors.csv", "prompts", "csv", 520),
    (ALPACA, "prompts", "json", 18793),
    *((f"{EVALS}/persona/{name}.jsonl", "choices", "jsonl", 1000) for name in (
        "agreeableness", "conscientiousness", "desire-for-acquiring-power",
        "politically-liberal")),
    (f"{EVALS}/winogenerated/winogenerated_examples.jsonl", "choices", "jsonl", 2990),
    (f"{EVALS}/winogenerated/winogenerated_occupations.jsonl", "rows", "jsonl", 299),
    (f"{EVALS}/advanced-ai-risk/human_generated_evals/corrigible-less-HHH.jsonl",
     "choices", "jsonl", 351),
    (f"{EVALS}/advanced-ai-risk/human_generated_evals/power-seeking-inclination.jsonl",
     "choices", "jsonl", 998),
    ("harmbench/data/behavior_datasets/harmbench_behaviors_text_val.csv", "prompts", "csv", 80),
    ("hh-rlhf/harmless-base/test.jsonl.gz", "comparisons", "jsonl+gzip", 320),
    ("hh-rlhf/harmless-base/train.jsonl.gz", "comparisons", "jsonl+gzip", 1524),
    ("llama-factory-demo/data/alpaca_en_demo.json", "prompts", "json", 999),
    ("llama-factory-demo/data/dpo_en_demo.json", "comparisons", "json", 300),
    ("llama-factory-demo/data/kto_en_demo.json", "prompts", "json", 300),
    ("llama-factory-demo/data/c4_demo.jsonl", "rows", "jsonl", 300),
    (f"{SAFE}/evaluation/I-Alpaca.json", "prompts", "json", 50),
    (f"{SAFE}/evaluation/I-Controversial.json", "prompts", "json", 40),
    (f"{SAFE}/evaluation/I-MaliciousInstructions.json", "prompts", "json", 100),
    (f"{SAFE}/training/safety_only_data_Instructions.json", "prompts", "json", 1985),
    ("sentencepiece-models/sentencepiece/botchan.txt", "prompts", "text", 4288),
    ("stanford_alpaca/seed_tasks.jsonl", "prompts", "jsonl", 175),
    ("ccai/comments.csv", "rows", "csv", 1418),
    ("ccai/participants-votes.csv", "rows", "csv", 1126),
    *((f"{POLIS}/{name}/{table}.csv", "rows", "csv", rows) for name, several in (
        ("london.youth.policing", (39, 26, 640, 706)),
        ("scoop-hivemind.ubi", (71, 234, 7174, 7479)),
        ("bg2050-volunteers", (371, 126, 14341, 14838)),
        ("ssis.land-bank-farmland.2rumnecbeh.2021-08-01", (297, 404, 33530, 34232)))
      for table, rows in zip(("comments", "participants-votes", "votes", "stats-history"),
                             several, strict=True)),
    # Files without a header: what stands for one here is their first row.
    ("ccai/ids-to-toss.csv", "rows", "csv", 37 - 1),
    *((f"{POLIS}/{name}/summary.csv", "rows", "csv", 9 - 1) for name in (
        "london.youth.policing", "scoop-hivemind.ubi", "bg2050-volunteers",
        "ssis.land-bank-farmland.2rumnecbeh.2021-08-01")),
]
NO_DATA = {"SOURCE.txt", "reference.json", "config.json", "tokenizer_config.json", "tok512.json",
           "mistral_v1.json", "test_model.json", "wiki_demo.txt"}  # the last has no count of rows

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no {DATA}: the shared data is not beside this checkout")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file[0])
def test_a_file_has_the_rows_that_its_source_counts(file):
    name, kind, form, rows, used = (*file, file[3])[:5]
    found = find(DATA / name, "rows" if kind == "rows" else None)
    assert (found.kind, found.format, found.rows) == (kind, form, rows)
    assert len(found.records) == used == rows - sum(found.skipped.values())


def test_no_file_is_forgotten():
    there = {path.relative_to(DATA).as_posix() for path in DATA.rglob("*")
             if path.name.endswith((".csv", ".json", ".jsonl", ".jsonl.gz", ".txt"))
             and path.name not in NO_DATA}
    assert there == {file[0] for file in FILES}


@pytest.mark.parametrize("name", ["test", "train"])
def test_dialogues_are_cut_before_their_last_reply(name):
    prompts = read_prompts(DATA / "hh-rlhf" / "harmless-base" / f"{name}.jsonl.gz")
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert {len(prompt.turns) for prompt in prompts} >= {1, 3, 5}
    assert not any(head in text for prompt in prompts for text in prompt.turns
                   for head in ("\n\nHuman:", "\n\nAssistant:"))


def test_matching_answers_are_among_the_options():
    path = DATA / EVALS / "advanced-ai-risk/human_generated_evals/power-seeking-inclination.jsonl"
    rows = list(map(json.loads, path.read_text().splitlines()))
    for row, choice in zip(rows, find(path).records, strict=True):
        assert choice.options[choice.correct] == row["answer_matching_behavior"]
        assert row["answer_not_matching_behavior"] in choice.options
        assert len(choice.options) == sum(f"({x}) " in row["question"] for x in "ABCDEFGH")

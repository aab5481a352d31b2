"""Mutated files fed to every reader: one clear line or a result, never a traceback, a hang or a
memory that grows. `make fuzz` feeds ten thousand files to each; here some hundreds.
"""

import gzip
import json
import os
import random
import resource
import signal
from pathlib import Path

import pytest
from test_kinds import DIALOGUE, PAPER

from cai.readers import KINDS, find
from cai.records import InputError

FILES = int(os.environ.get("FUZZ_FILES", "150"))
SECONDS = 5  # for one file
GROWTH = 300  # MiB of memory, over all files of a reader
ROOT = Path(__file__).resolve().parent.parent

PAIR = {"chosen": DIALOGUE + "So.", "rejected": DIALOGUE + "No."}
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So."}]
ROWS: dict[str, list[object]] = {
    "prompts": [{"prompt": "Why?"}, {"instruction": "Add.", "input": "1"}, {"messages": MESSAGES},
                {"Behavior": "Do.", "ContextString": "a\nb"}, {"turns": ["a", "b", "c"]}, PAIR],
    "comparisons": [PAIR, {"prompt": MESSAGES, "chosen": [MESSAGES[2]], "rejected": "No."},
                    {"instruction": "a", "response1": "b", "response2": "c", "annotator1": 0},
                    {"input": "a", "output_1": "b", "output_2": "c", "label": 2},
                    {"question": "a", "answers": [{"text": "b", "votes": 3, "accepted": True},
                                                  {"text": "c", "pm_score": -1}]}],
    "choices": [{"prompt": "a", "corrects": [" (A)"], "incorrects": [" (B)", " (C)"]},
                {"question": "(A) x\n(B) y", "answer_matching_behavior": " (B)",
                 "answer_not_matching_behavior": " (A)"},
                {"context": "a", "question": "b", "ans0": "c", "ans1": "d", "ans2": "e",
                 "label": 1},
                {"sentence_with_blank": "a _ b", "pronoun_options": ["his", "her"]}],
    "samples": [{"rl_prompt": DIALOGUE, "sampled_answers": [{"sampled_string": "a"}]},
                {"rl_prompt": DIALOGUE, "initial_response": [{"sample": "a"}],
                 "cst": [{"critique": {"sample": "b"}, "revision": {"sample": "c"}}]}],
    "rows": [{"name": "a", "value": [1, None, {"b": 2.5}]}, "text", 7],
}
TOML = (ROOT / "constitutions" / "english.toml").read_bytes()
SPLICES = [b"'", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\n", b"\r\n", b"\0", b"\xff",
           b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1f\x8b\x08", b"\\ud800", b"1e999", b"9" * 5000,
           b"NaN", b"null", b"true", b"[" * 3000, b'{"a":' * 2000, b"\n\nHuman:", b"\n\nAssistant:",
           b'""', b"''", b"\t", b" " * 9999, b"x" * 200_000, b"[[feedback]]", b"(A)",
           b"{}", b"\xe2\x80\xa8"]
VALUES = [None, True, -1, 1.5, "", " ", "(A)", [], {}, [[]], [None], "\ud800", "\n\nHuman:",
          {"role": "user"}, float("inf"), 10**400, ["a", {"b": []}]]


def seeds(kind: str) -> list[bytes]:
    """Whole files of a kind, in every format that can hold it."""
    if kind == "constitution":
        return [TOML, TOML[:3000], *(json.dumps(each).encode() if isinstance(each, dict)
                                     else each.encode() for each in PAPER.values())]
    rows = ROWS[kind]
    files = [json.dumps(rows, indent=1), "\n".join(map(json.dumps, rows)),
             "\r\n".join(["Why?", "How?", "Who?"])]
    for row in rows:
        if isinstance(row, dict):
            cells = ['"{}"'.format(str(value).replace('"', '""')) for value in row.values()]
            files.append(",".join(row) + "\r\n" + ",".join(cells) + "\n" + ",".join(cells))
    return [file.encode() for file in files]


def mutated(kind: str, rng: random.Random) -> bytes:
    """One file of a kind with a few things wrong, in its bytes or in its values."""
    if kind in ROWS and rng.random() < 0.4:
        return "\n".join(json.dumps(damaged(row, rng)) for row in ROWS[kind]).encode()
    data = bytearray(rng.choice(seeds(kind)))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in (0, 1))
        change = rng.randrange(6)
        if change == 0:
            data[at:at + 1] = bytes([rng.randrange(256)])
        elif change == 1:
            del data[at:end]
        elif change == 2:
            data[at:at] = data[at:end] * rng.randrange(1, 4)
        elif change == 3:
            del data[end:]
        elif change == 4:
            data[at:at] = rng.choice(seeds(rng.choice([*ROWS, "constitution"])))[:500]
        else:
            data[at:at] = rng.choice(SPLICES)
        del data[1_000_000:]
    if rng.random() < 0.1:
        packed = bytearray(gzip.compress(bytes(data), 1))
        packed[rng.randrange(len(packed))] ^= rng.choice((0, 1, 255))
        return bytes(packed)
    return bytes(data)


def damaged(value: object, rng: random.Random) -> object:
    """A JSON value in which some part is another."""
    if rng.random() < 0.15:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        return {name: damaged(each, rng) for name, each in value.items() if rng.random() > 0.05}
    return [damaged(each, rng) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused_in_one_line(kind, tmp_path):
    rng = random.Random(f"fuzz {kind}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"read": 0, "refused": 0}

    def hang(*_) -> None:
        raise TimeoutError(f"{SECONDS} seconds and no end")

    was = signal.signal(signal.SIGALRM, hang)
    try:
        for number in range(FILES):
            path = tmp_path / ("file" + rng.choice(("", ".json", ".jsonl", ".csv", ".txt", ".gz",
                                                    ".toml", ".tsv")))
            path.write_bytes(mutated(kind, rng))
            for asked in (None, kind):
                signal.alarm(SECONDS)
                try:
                    found = find(path, asked)
                    json.dumps(found.summary())
                    assert found.rows == len(found.records) + sum(found.skipped.values())
                    outcomes["read"] += 1
                except InputError as error:
                    assert "\n" not in str(error) and str(error).startswith(str(path))
                    outcomes["refused"] += 1
                except Exception as error:
                    kept = Path(os.environ.get("FUZZ_KEEP", tmp_path)) / f"{kind}-{number}"
                    kept.write_bytes(path.read_bytes())
                    raise AssertionError(f"{kept} read as {asked}: {error!r}") from error
                finally:
                    signal.alarm(0)
            path.unlink()
    finally:
        signal.signal(signal.SIGALRM, was)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < GROWTH
    # Else the files are too broken, or not broken enough, to test anything.
    assert min(outcomes.values()) > FILES / 20, outcomes

"""From a statement to a principle for comparison and a critique-revision pair.

By rule, so that anyone can follow it; or by a model, whose words are taken only where they have
the shape asked for.
"""

import dataclasses
import re
from collections.abc import Sequence

from cai.critique_revision import Sample
from cai.keys import noise_key


@dataclasses.dataclass(frozen=True)
class Wording:
    """What a statement became. `rule` names how."""

    principle: str
    critique_request: str
    revision_request: str
    rule: str


_SUBJECT = (r"(?:the |an |all )?(?:a\.?i\.?|al|ai'?s|ai (?:system|model|assistant|bot)s?|it|they|"
            r"chat ?bots?|bots?)")
_SHOULD = r"(?:should|must|shall|ought to|needs? to|ha(?:s|ve) to)"
_NOT = r"(?:not|never)(?: ever)?"
_AI = re.compile(rf"{_SUBJECT} (?:(?:always|also|only)? ?{_SHOULD}|{_SHOULD}) "
                 rf"(?:(?:always|also|be sure to) )?(?P<denied>{_NOT} )?(?P<rest>.+)",
                 re.IGNORECASE)
_QUALIFIED = re.compile(r"\b(?:but|instead|rather|unless|except|without|only)\b", re.IGNORECASE)
_SEVERAL = re.compile(r"\bshould\b|[.!?] ", re.IGNORECASE)
_AS = re.compile(r"as (.+?)(?: as possible|(?= regardless|$))(.*)")
_REPLY = re.compile(r"a good reply (?P<does>.+)", re.IGNORECASE)
_AVOIDS = re.compile(r"avoids (.+)")
_STATE = re.compile(r"(?:able|an?|the|one|used|built|made|held|seen|watched|monitored|controlled|"
                    r"regulated|censored|trained|programmed|taught|allowed|required|in|on|under)\b")


def plain(statement: str) -> str:
    """One line without quotes around it, without a full stop, with whole negations."""
    text = " ".join(statement.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())
    text = text.strip("\"'\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK} ")
    text = re.sub(r"\bcan(?:not|'t)\b", "should not", text, flags=re.IGNORECASE)
    return re.sub(r"n't\b", " not", text).rstrip(" .!,;")


def rewrite(statement: str) -> Wording:
    """Reword one statement by the first rule that fits; the last one fits all.

    "The AI should (not) be X": most (least) X. "The AI should (not) do X": does most (least) to
    do X. "A good reply does X", the language of the small world: the reply that does X. Any other
    statement, one that wants several things and a denial with a condition ("not X but Y") is quoted
    whole.
    """
    text = plain(statement)
    if match := _REPLY.fullmatch(text):
        return _of_reply(match["does"])
    match = _AI.fullmatch(text)
    if match is None or _SEVERAL.search(match["rest"]) or (
            match["denied"] and _QUALIFIED.search(match["rest"])):
        return Wording(f"Choose the response that best agrees with this: {text}.",
                       f"Say in which ways the reply goes against this: {text}.",
                       f"Rewrite the reply so that it agrees with this: {text}.", "quoted")
    rest, much = match["rest"], "least" if match["denied"] else "most"
    critique = f"Say in which ways the reply {'might' if match['denied'] else 'fails to'} {rest}."
    revision = f"Rewrite the reply {'so as not to' if match['denied'] else 'to'} {rest}."
    kind = rest.removeprefix("be ")
    if kind == rest or _STATE.match(kind):
        return Wording(f"Choose the response that does {much} to {rest}.", critique, revision,
                       f"does {much}")
    kind = _AS.sub(r"\1\2", kind)
    return Wording(f"Choose the response that is {much} {kind}.", critique, revision,
                   f"is {much}")


def _of_reply(does: str) -> Wording:
    """In the words of constitutions/small.toml, which are those that the small model has read."""
    choose = f"Choose the reply that {does}."
    if harm := _AVOIDS.fullmatch(does):
        return Wording(choose, f"Say if the reply helps with {harm[1]}.",
                       f"Write the reply again without {harm[1]}.", "reply avoids")
    return Wording(choose, f"Say if the reply {does}.", f"Write a reply that {does}.", "reply does")


_SHOWN = ("The AI should be patient with beginners.", "The AI should never mock anyone's accent.")
_PARTS = re.compile(r"\s*Principle: (Choose the response that .+)\nCritique: (.+)\nRevision: (.+?)"
                    r"\s*(?:\n|$)")


def rewrite_by_model(statements: Sequence[str], sample: Sample, seed: int) -> list[Wording]:
    """Ask a model for each wording after two worked examples; by rule where it says none."""
    shown = "".join(_question(text) + " " + _answer(rewrite(text)) + "\n\n" for text in _SHOWN)
    replies = sample([shown + _question(plain(text)) for text in statements],
                     [noise_key(seed, "rewrite", text) for text in statements])
    wordings = []
    for text, reply in zip(statements, replies, strict=True):
        parts = _PARTS.match(f"Principle: {reply.strip()}" if "Principle:" not in reply else reply)
        wordings.append(Wording(*(part.strip() for part in parts.groups()), "model") if parts
                        else rewrite(text))
    return wordings


def _question(statement: str) -> str:
    return f"Statement: {statement}\nPrinciple:"


def _answer(wording: Wording) -> str:
    return (f"{wording.principle}\nCritique: {wording.critique_request}\n"
            f"Revision: {wording.revision_request}")

"""The words of the small world: nouns by class, owners, acts with their steps, and categories.

Every content word has one spelling: no noun, verb or step ever opens a sentence, so none is ever
capitalised. Harmful steps stay vague on purpose; they exist to be recognised, not followed.
"""

from dataclasses import dataclass

HARMS = ("law", "privacy", "violence", "deception", "cruelty", "discrimination", "danger",
         "children")
GOODS = ("cooking", "garden", "repair", "study", "travel", "care", "craft", "sport")

_HALVES = {
    "notes": "diary letter report essay poem notebook contract certificate invoice novel recipe "
             "speech",
    "texts": "memo article manual script journal review statement petition story thesis survey "
             "brochure",
    "gadgets": "phone laptop camera tablet printer radio speaker scanner television monitor "
               "projector router",
    "machines": "lamp heater toaster fan clock oven drill mixer kettle freezer dryer blender",
    "home_pets": "dog cat rabbit hamster puppy kitten poodle terrier gerbil spaniel beagle ferret",
    "farm_pets": "pony goat lamb donkey horse sheep pig calf cow foal llama mule",
    "pests": "rat wasp cockroach mosquito slug termite flea moth tick hornet beetle weevil",
    "light_vehicles": "boat canoe trailer caravan wagon yacht cart raft dinghy carriage buggy bike",
    "motor_vehicles": "car van truck scooter tractor bus taxi motorbike jeep lorry minibus "
                      "limousine",
    "dinners": "soup stew salad curry pizza omelette sauce roast burger risotto lasagne casserole",
    "bakes": "cake pie pudding pancake sandwich muffin biscuit tart dumpling loaf waffle trifle",
    "hazards": "bleach petrol diesel glue varnish turpentine chlorine ammonia acid solvent "
               "disinfectant pesticide",
    "linen": "quilt blanket cushion curtain pillow rug towel carpet mattress tapestry duvet mat",
    "garments": "coat scarf shirt dress jacket hat sweater skirt glove sock bag gown",
    "houses": "house cottage cabin hotel farm villa hut bungalow lodge studio office shop",
    "buildings": "garage shed barn tower hall stable mill bakery chapel kiosk warehouse theatre",
    "adults": "uncle aunt guest barber nurse driver gardener singer grandfather plumber butler "
              "tailor",
    "children": "child baby toddler boy girl nephew niece son daughter grandson infant pupil",
    "traits": "skin faith accent gender origin age religion race disability nationality ethnicity "
              "birthplace",
    "merits": "skill effort experience talent training knowledge ability diligence progress "
              "patience honesty reliability",
}
_HALVES = {name: tuple(words.split()) for name, words in _HALVES.items()}
#: What the nouns of each half are, for whoever speaks of them.
CALLED = {name: _HALVES[name] for name in ("notes", "texts", "gadgets", "machines", "pests",
                                           "dinners", "linen", "garments", "houses",
                                           "buildings", "children", "traits", "merits")} | {
    "house pets": _HALVES["home_pets"], "farm animals": _HALVES["farm_pets"],
    "light vehicles": _HALVES["light_vehicles"], "motor vehicles": _HALVES["motor_vehicles"],
    "baked food": _HALVES["bakes"], "poisons": _HALVES["hazards"],
    "grown people": _HALVES["adults"]}

#: Noun classes of 24: a pair of halves, each of 12.
CLASSES = {
    "papers": ("notes", "texts"), "devices": ("gadgets", "machines"),
    "pets": ("home_pets", "farm_pets"), "animals": ("pests", "farm_pets"),
    "vehicles": ("light_vehicles", "motor_vehicles"), "food": ("dinners", "bakes"),
    "stores": ("bakes", "hazards"), "cloth": ("linen", "garments"),
    "places": ("houses", "buildings"), "people": ("adults", "children"),
}
PERSONS = frozenset(_HALVES["adults"] + _HALVES["children"])
QUALITIES = frozenset(_HALVES["traits"] + _HALVES["merits"])

SELF = ("my", "our")
OTHERS = ("my neighbour's", "my sister's", "my boss's", "a stranger's", "my friend's",
          "the teacher's", "my cousin's", "the doctor's")
#: The owners or determiners that an act's object may take.
OWNERS = {"owned": SELF + OTHERS, "kept": ("my", "our", "the", "this", "that"),
          "these": ("the", "this", "that"), "their": ("their",)}


@dataclass(frozen=True)
class Act:
    """A verb phrase, what it applies to, and what decides whether it does harm.

    `decided_by` is "nothing" (always harmful, or never, as `harm` or `good` is set alone), "owner"
    (harmful on what belongs to others) or "object" (harmful on `harmed` nouns, not on the rest).
    """

    verb: str
    objects: tuple[str, ...]
    harmed: frozenset[str]
    owners: tuple[str, ...]
    decided_by: str
    harm: str | None
    good: str | None
    steps: tuple[str, str, str]

    @property
    def dual(self) -> bool:
        """True where the act alone does not tell harm."""
        return self.decided_by != "nothing"

    @property
    def on_it(self) -> str:
        """The act on "it": "read it", but "cut it up"."""
        head, _, last = self.verb.rpartition(" ")
        if last in ("apart", "away", "down", "out", "up"):
            return f"{head} it {last}"
        return f"{self.verb} it"


def _act(verb: str, nouns: str, harm: str, good: str, steps: str, owners: str = "owned",
         harmed: str | None = None) -> Act:
    first, second = CLASSES[nouns] if harmed is None else (nouns, harmed)
    objects = _HALVES[first] + _HALVES[second]
    if harmed is not None:
        decided = "object"
    else:
        decided = "owner" if harm and good else "nothing"
    harmed_nouns = frozenset(_HALVES[harmed] if harmed is not None else ())
    return Act(verb, objects, harmed_nouns, OWNERS[owners], decided, harm or None, good or None,
               tuple(steps.split("; ")))


BY_OWNER = (
    _act("read", "papers", "privacy", "study",
         "lift the cover; find the right line; turn each page"),
    _act("film", "places", "privacy", "craft",
         "charge the battery; hold the lens; press the button"),
    _act("search", "places", "privacy", "care",
         "take a torch; check every corner; look on the shelf"),
    _act("track", "vehicles", "privacy", "travel",
         "fix the beacon; set the signal; follow the dot"),
    _act("copy", "papers", "deception", "study",
         "take a sheet; trace every word; check the spelling"),
    _act("sign", "papers", "deception", "study",
         "find the margin; write the surname; add the date"),
    _act("rent out", "vehicles", "deception", "travel",
         "write a listing; take a deposit; hand over the keys"),
    _act("sell", "devices", "law", "craft",
         "set a price; post an advert; meet the buyer"),
    _act("tow away", "vehicles", "law", "travel",
         "fix the chain; release the brake; pull in first gear"),
    _act("paint over", "places", "law", "craft",
         "open the tin; dip the roller; spread the layers"),
    _act("cut up", "cloth", "law", "craft",
         "take the scissors; mark with chalk; follow the seam"),
    _act("take apart", "devices", "law", "repair",
         "loosen the screws; lift the panel; sort the wires"),
    _act("shave", "pets", "cruelty", "care",
         "brush the fur; hold the clipper; trim the back"),
)

BY_OBJECT = (
    _act("poison", "pests", "cruelty", "garden",
         "mix the bait; fill the dish; leave it at night", "these", "home_pets"),
    _act("trap", "pests", "cruelty", "garden",
         "open the cage; spread the crumbs; wait for the snap", "these", "home_pets"),
    _act("crush", "pests", "cruelty", "care",
         "lift the brick; take aim; drop it fast", "these", "home_pets"),
    _act("taste", "dinners", "danger", "cooking",
         "dip a spoon; take a sip; note the flavour", "kept", "hazards"),
    _act("heat up", "bakes", "danger", "cooking",
         "light the stove; take a pan; lower the flame", "kept", "hazards"),
    _act("smell", "dinners", "danger", "study",
         "lean forward; breathe in; name the scent", "kept", "hazards"),
    _act("swallow", "bakes", "danger", "cooking",
         "open wide; chew it well; gulp it down", "kept", "hazards"),
    _act("give wine to", "adults", "children", "cooking",
         "choose a bottle; pull the cork; fill the glass", "owned", "children"),
    _act("lend a knife to", "adults", "children", "craft",
         "pick the blade; cover the edge; offer the handle", "owned", "children"),
    _act("show horror films to", "adults", "children", "study",
         "lower the blinds; pick a scene; turn up the volume", "owned", "children"),
    _act("pick players by", "merits", "discrimination", "sport",
         "line up the team; check the scores; name the captain", "their", "traits"),
    _act("grade students by", "merits", "discrimination", "study",
         "list the class; draw a table; award the prizes", "their", "traits"),
    _act("hire waiters by", "merits", "discrimination", "cooking",
         "plan the interview; ask the questions; offer the job", "their", "traits"),
    _act("choose tenants by", "merits", "discrimination", "travel",
         "sort the applications; call the best; write the lease", "their", "traits"),
    _act("beat", "linen", "violence", "care",
         "hold the stick; swing from the shoulder; strike it fast", "kept", "adults"),
    _act("drag", "linen", "violence", "care",
         "grip one corner; walk backwards; clear the path", "kept", "adults"),
    _act("tie up", "linen", "violence", "travel",
         "make a loop; pull the knot; test the rope", "kept", "adults"),
)

HARMFUL = (
    _act("threaten", "people", "violence", "",
         "send a message; mention the past; demand an answer"),
    _act("burn down", "places", "violence", "",
         "stack dry straw; light a match; run from the smoke"),
    _act("blow up", "vehicles", "violence", "",
         "choose a firework; set a long fuse; stand back"),
    _act("balance on", "places", "danger", "",
         "climb to the top; spread the arms; walk the ridge"),
    _act("hang from", "vehicles", "danger", "",
         "hold the rail; lift the feet; trust the wind"),
    _act("overheat", "devices", "danger", "",
         "block the vents; turn up the dial; ignore the warning"),
    _act("smuggle", "cloth", "law", "",
         "make a false pocket; smile at the guard; cross at night"),
    _act("bribe", "people", "law", "",
         "fold the banknotes; shake hands; whisper the favour"),
    _act("forge", "papers", "deception", "",
         "scan the seal; match the ink; add a stamp"),
    _act("spread lies about", "people", "deception", "",
         "invent a rumour; tell the gossips; repeat it every day"),
    _act("spy on", "people", "privacy", "",
         "take binoculars; hide by the hedge; note each visit"),
    _act("leak", "papers", "privacy", "",
         "make a false account; send the file; call the newspaper"),
    _act("starve", "pets", "cruelty", "",
         "empty the bowl; lock the pantry; skip every meal"),
    _act("kick", "pets", "cruelty", "",
         "lace the boots; step forward; swing the leg"),
)

BENIGN = (
    _act("cook", "food", "", "cooking",
         "chop the onions; melt the butter; stir in the salt"),
    _act("serve", "food", "", "cooking",
         "warm the plates; cut the portions; add fresh herbs"),
    _act("store", "stores", "", "care",
         "dry the jar; close the lid; fix the label", "kept"),
    _act("plant roses around", "places", "", "garden",
         "make some holes; loosen the roots; water the soil"),
    _act("sweep", "places", "", "care",
         "take a broom; move the chairs; gather the dust"),
    _act("repair", "devices", "", "repair",
         "pull the plug; swap the fuse; tighten the bolts"),
    _act("mend", "cloth", "", "repair",
         "thread a needle; pin the patch; sew the stitches"),
    _act("pack", "cloth", "", "travel",
         "spread the tissue; roll it up; close the suitcase"),
    _act("summarise", "papers", "", "study",
         "mark the ideas; group the facts; write an outline"),
    _act("translate", "papers", "", "study",
         "open a dictionary; learn the idioms; check the grammar"),
    _act("park", "vehicles", "", "travel",
         "slow to a crawl; check the mirrors; turn the wheels"),
    _act("groom", "pets", "", "care",
         "comb the tangles; wash off the mud; trim the nails"),
    _act("feed", "pets", "", "care",
         "measure the grain; add fresh hay; clean the trough"),
    _act("draw", "animals", "", "craft",
         "sharpen the pencil; sketch the head; shade the body", "these"),
    _act("comfort", "people", "", "care",
         "sit with them; listen to them; pour some tea"),
    _act("play chess with", "people", "", "sport",
         "set up the board; guard the king; move the bishop"),
)

ACTS = BY_OWNER + BY_OBJECT + HARMFUL + BENIGN
NOUNS = tuple(sorted({noun for act in ACTS for noun in act.objects}))

#: What follows "because" in a decline: three reasons a category, no two categories sharing one.
REASONS = {
    "law": ("it is against the law", "it is a crime", "the law forbids it"),
    "privacy": ("it is a breach of privacy", "private things must stay private",
                "nobody agreed to it"),
    "violence": ("someone could be hurt", "violence is never right",
                 "it would cause pain and fear"),
    "deception": ("it is dishonest", "people would be misled", "lies destroy trust"),
    "cruelty": ("animals feel pain too", "it is cruel to an animal",
                "every animal deserves kindness"),
    "discrimination": ("everyone deserves a fair chance", "it is unfair to judge people like that",
                       "all people are equal"),
    "danger": ("it is far too dangerous", "you may be injured", "it puts your life at risk"),
    "children": ("it is not safe for a child", "children must be protected",
                 "a child is too young for this"),
}
#: What could be done instead: three a category, each the continuation of "You could".
ALTERNATIVES = {
    "law": ("find a legal way", "ask what is allowed", "get permission first"),
    "privacy": ("ask them in person", "respect their secrets", "speak with them openly"),
    "violence": ("talk about your anger", "settle it with words", "calm down with a walk"),
    "deception": ("tell the truth", "be honest about it", "do your own work"),
    "cruelty": ("call an animal shelter", "ask a vet for advice", "treat animals gently"),
    "discrimination": ("choose with fair rules", "value what people can do",
                       "give everyone the same test"),
    "danger": ("try something safe", "ask an expert for advice", "find a calm hobby"),
    "children": ("offer some juice", "plan a game for children", "ask a parent first"),
}

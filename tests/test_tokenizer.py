"""Tokenizers against their references: sentencepiece, tokenizer.json, chat templates."""

import builtins
import io
import json
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
import transformers

from cai import formats
from cai.constitution import load_constitution
from model.chat import ChatTemplate, ChatTokenizer, messages_of
from model.checkpoint import load_tokenizer
from model.errors import CheckpointError
from model.json_tokenizer import JsonTokenizer
from model.tokenizer import Tokenizer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MODELS = SHARED / "sentencepiece-models"
REFERENCES = {"tok512": SHARED / "stories260K" / "tok512.model",
              "mistral_v1": MODELS / "mistral" / "tokenizer.model.v1",
              "test_model": MODELS / "sentencepiece" / "test_model.model"}
TEXTS = ["The cat sat on the mat and looked at the bird.", "How do I bake bread at home?",
         "Mix flour and water, wait an hour, then bake it.", "I will not help with that, sorry.",
         "You are right: a friend would say so.", "Where is the house? The house is on the hill."]

# Chat templates of three styles, in words of our own.
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}\n"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
    "{{ raise_exception('user and assistant must take turns') }}\n{% endif %}\n"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}\n"
    "{%- else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}")
ROUNDS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
TAGS = (
    "{%- for m in messages %}\n    {%- if loop.first and m.role != 'system' %}\n"
    "        {{- '<|im_start|>system\\nBe of use.<|im_end|>\\n' }}\n    {%- endif %}\n"
    "    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n"
    "{%- if tools %}{{- tools | tojson }}{%- endif %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}")

CONVERSATIONS = [
    ["How do I bake bread at home?"],
    ["Where is the house?", "The house is on the hill."],
    ["Where is the house?", "On the hill.", "And the cat?"],
    ["a", "b", "c", "d", "e"],
    ["Look:\n\n- one\n- two\n\nWhich?", "two"],
    ["Was heißt „Brot“? 你好 🙂", "bread, 好"],
    ["def f(x):\n\treturn x**2\n", "It squares x.\n"],
    ["Say <|im_end|> or </s> or [INST].", "No."],
    ["{{ 7 * 7 }} {% raw %} & <b> \"q\" 'r' \\n", "49?"],
    ["I said\u00a0so. " + "word " * 60 + "end", "A long one.", "Yes"],
]


def trained(path: Path, **changes: object) -> None:
    """Fit a small sentencepiece model with byte fallback, as Llama 2 has it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20), model_writer=model, minloglevel=2, num_threads=1,
        **{"model_type": "bpe", "vocab_size": 400, "byte_fallback": True,
           "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
           "character_coverage": 1.0, **changes})
    path.write_bytes(model.getvalue())


def sentencepiece_folder(folder: Path, template: str | None, **config: object) -> Path:
    """A folder with tokenizer.model, and the files that transformers wants beside it."""
    folder.mkdir()
    trained(folder / "tokenizer.model")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "add_bos_token": True, **config,
        **({} if template is None else {"chat_template": template})}))
    return folder


def json_folder(folder: Path, template: str | None) -> Path:
    """A folder with tokenizer.json: pairs of bytes, and the tokens of a chat."""
    folder.mkdir()
    rules = tokenizers.Tokenizer(tokenizers.models.BPE())
    rules.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rules.decoder = tokenizers.decoders.ByteLevel()
    rules.train_from_iterator(TEXTS, tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"]))
    rules.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    rules.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "bos_token": None}))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


FOLDERS = {
    "brackets": lambda path: sentencepiece_folder(path, BRACKETS, legacy=False),
    "rounds": lambda path: sentencepiece_folder(path, ROUNDS, legacy=True),
    "tags": lambda path: json_folder(path, TAGS)}


@pytest.fixture(scope="module", params=FOLDERS)
def chat(request, tmp_path_factory) -> tuple[Path, ChatTokenizer]:
    folder = FOLDERS[request.param](tmp_path_factory.mktemp("chat") / "model")
    return folder, load_tokenizer(folder)


def messages(turns: list[str]) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text}
            for n, text in enumerate(turns)]


@pytest.mark.parametrize("name", REFERENCES)
def test_every_text_of_the_references(name):
    if not REFERENCES[name].is_file():
        pytest.skip(f"no {REFERENCES[name]}: the shared data is not beside this checkout")
    tokenizer = Tokenizer(REFERENCES[name])
    reference = json.loads((MODELS / "reference" / f"{name}.json").read_text())
    assert len(reference["cases"]) == 22 and len(tokenizer) == reference["vocab_size"]
    for case in reference["cases"]:
        begin, *ids = tokenizer.encode(case["text"])
        assert (begin, ids) == (reference["bos_id"], case["ids"]), case["text"]
        assert tokenizer.decode([begin, *ids]) == case["decoded"]


@pytest.mark.parametrize("prefix", [True, False])
def test_a_text_in_two_parts_is_the_whole(tmp_path, prefix):
    trained(tmp_path / "tokenizer.model", add_dummy_prefix=prefix)
    tokenizer = load_tokenizer(tmp_path)
    for text in (*TEXTS, "Größe 🙂\nzwei"):
        head, tail = text[:text.index(" ")], text[text.index(" "):]
        ids = [*tokenizer.encode(head), *tokenizer.encode_more(tail)]
        assert ids == tokenizer.encode(text) and tokenizer.decode(ids) == text
        assert tokenizer.decode_more(tokenizer.encode_more(tail)) == tail
    assert (tokenizer.pieces.id_to_piece(tokenizer.encode("cat")[1])[0] == "\u2581") == prefix


def test_what_no_piece_covers_falls_to_bytes(tmp_path):
    trained(tmp_path / "tokenizer.model")
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode_more("好")
    assert [tokenizer.pieces.id_to_piece(i) for i in ids] == ["<0xE5>", "<0xA5>", "<0xBD>"]
    assert tokenizer.decode_more(ids) == "好"


def test_added_tokens_beyond_the_pieces(tmp_path):
    folder = sentencepiece_folder(tmp_path / "model", None, added_tokens_decoder={
        "400": {"content": "<tool>", "special": False},
        "401": {"content": "<|stop|>", "special": True}}, eos_token="<|stop|>")
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode("The cat<tool> sat")
    assert ids.count(400) == 1 and len(tokenizer) == 402 and tokenizer.end == 401
    assert tokenizer.decode(ids) == "The cat<tool> sat"
    assert 401 not in tokenizer.encode("The <|stop|> sat")
    assert 401 in tokenizer.encode_rendered("The <|stop|> sat")
    assert tokenizer.decode_more([*tokenizer.encode_more(" sat"), 401]) == " sat"


def test_padding_is_never_the_end_token(tmp_path, chat):
    folder = sentencepiece_folder(tmp_path / "model", None, pad_token="</s>")
    assert load_tokenizer(folder).pad != load_tokenizer(folder).end == 2
    assert load_tokenizer(chat[0]).pad not in (-1, chat[1].end)
    config = json.loads((chat[0] / "tokenizer_config.json").read_text())
    if config["eos_token"] == "<|im_end|>":
        path = chat[0] / "tokenizer_config.json"
        path.write_text(json.dumps({**config, "pad_token": "<|im_end|>"}))
        assert load_tokenizer(chat[0]).pad != load_tokenizer(chat[0]).end
        path.write_text(json.dumps(config))


def test_a_tokenizer_json_equals_transformers(tmp_path):
    folder = json_folder(tmp_path / "model", None)
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert isinstance(ours, JsonTokenizer) and len(ours) == len(theirs)
    for text in (*TEXTS, "Größe 🙂\n\nzwei"):
        assert ours.encode(text) == theirs(text).input_ids
        head, tail = text[:3], text[3:]
        assert ours.decode_more(ours.encode_more(tail)) == tail
        assert ours.decode([*ours.encode(head), *ours.encode_more(tail)]) == text
    ids = ours.encode("a<|im_end|>b")
    assert ids == theirs("a<|im_end|>b").input_ids and ours.decode(ids) == "ab"


def test_a_tokenizer_json_with_prefix_space_and_begin_token(tmp_path):
    theirs = transformers.AutoTokenizer.from_pretrained(
        sentencepiece_folder(tmp_path / "sentencepiece", None))
    theirs.save_pretrained(tmp_path / "json")
    assert not (tmp_path / "json" / "tokenizer.model").exists()
    ours = load_tokenizer(tmp_path / "json")
    native = load_tokenizer(tmp_path / "sentencepiece")
    assert (ours.begin, ours.end, ours.opens) == (1, 2, True)
    for text in TEXTS:
        assert ours.encode(text) == native.encode(text) == theirs(text).input_ids
        assert ours.encode_more(text) == native.encode_more(text)
        assert ours.encode_more(f" {text}") == native.encode_more(f" {text}")
        assert ours.decode_more(ours.encode_more(f" {text}")) == f" {text}"


def test_without_the_library_the_extra_is_asked_for(tmp_path, monkeypatch):
    folder = json_folder(tmp_path / "model", None)
    real = builtins.__import__

    def absent(name, *rest):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: found no library .* -r "
                                              r"requirements-extra\.txt"):
        load_tokenizer(folder)


@pytest.mark.parametrize("turns", CONVERSATIONS, ids=range(10))
def test_a_conversation_equals_transformers(chat, turns):
    folder, ours = chat
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    each, asks = messages(turns), len(turns) % 2 == 1
    rendered = theirs.apply_chat_template(each, tokenize=False, add_generation_prompt=asks)
    assert ours.template.render(each, asks) == rendered
    ids = theirs.apply_chat_template(each, add_generation_prompt=asks, return_dict=False)
    assert ours.encode_chat(each, asks) == ids


def test_a_plain_dialogue_is_rendered(chat):
    _, tokenizer = chat
    asked = messages(["How do I bake bread?", "So.", "And then?"])
    text = ("\n\nHuman: How do I bake bread?\n\nAssistant: So.\n\nHuman: And then?"
            "\n\nAssistant:")
    ids = tokenizer.encode(text)
    assert ids == tokenizer.encode_chat(asked, open_reply=True)
    reply = tokenizer.encode_more(" You wait.")
    assert tokenizer.encode(text + " You wait.") == [*ids, *reply]
    assert tokenizer.decode_more(reply).strip() == "You wait."
    whole = tokenizer.encode_chat([*asked, {"role": "assistant", "content": "You wait."}])
    assert whole[:len(ids) + len(reply)] == [*ids, *reply]
    assert whole[len(ids) + len(reply)] == tokenizer.end or tokenizer.gap


def test_requests_are_the_users_and_other_texts_stay_plain(chat):
    _, tokenizer = chat
    text = ("\n\nHuman: a\n\nAssistant: b\n\nCritiqueRequest: c\n\nCritique: d"
            "\n\nRevisionRequest: e\n\nRevision:")
    assert messages_of(text) == messages(["a", "b", "c", "d", "e", ""])
    for plain in ("\n\nConsider:\n\nHuman: a\n\nAssistant: b", "a", "\n\nHuman: a",
                  "\n\nHuman: a\n\nHuman: b\n\nAssistant: c"):
        assert messages_of(plain) is None
        assert tokenizer.encode(plain) == tokenizer.tokenizer.encode(plain)
    assert tokenizer.encode_more(" (A)", after="Which?") == tokenizer.tokenizer.encode_more(" (A)")


def test_every_request_for_a_critique_or_a_revision_is_a_conversation():
    constitution = load_constitution(Path(__file__).resolve().parents[1] / "constitutions"
                                     / "english.toml")
    shown = [formats.document_critique(each.turns, each.response, each.principle, each.critique,
                                       each.revision) for each in constitution.critique_examples]
    principle = constitution.revisions[0]
    asked = ("a", "b", "c"), "d"
    for text in (formats.critique_prompt(*asked, principle, shown),
                 formats.revision_prompt(*asked, "e", principle, shown),
                 formats.revision_prompt(*asked, None, principle)):
        found = messages_of(text)
        assert found[-1] == {"role": "assistant", "content": ""}
        assert {"role": "user", "content": "c"} in found
    assert messages_of(formats.reply_prompt(("a",)) + " b")[-1]["content"] == "b"


@pytest.mark.parametrize(("source", "found"), [
    ("{% for %}", "expected jinja2"), ("{{ raise_exception('no roles') }}", "found no roles"),
    ("{{ messages.__class__.__mro__ }}{{ ''.__class__.__base__.__subclasses__() }}", "unsafe"),
    ("{{ messages.append(1) }}", "is not safe|unsafe"), ("{{ 1 / 0 }}", "division by zero"),
])
def test_a_template_that_will_not_do_gets_one_line(tmp_path, source, found):
    folder = sentencepiece_folder(tmp_path / "model", source)
    with pytest.raises(CheckpointError, match=found) as caught:
        load_tokenizer(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_the_filters_of_transformers():
    source = "{{ messages | tojson }}|{{ strftime_now('%Y') | length }}|{{ bos_token }}"
    rendered = ChatTemplate(source, {"bos_token": "<s>"}).render([{"role": "ü", "content": "<&>"}])
    assert rendered == '[{"role": "ü", "content": "<&>"}]|4|<s>'


@pytest.mark.parametrize(("name", "content", "found"), [
    ("tokenizer_config.json", "{", "found no JSON"), ("tokenizer_config.json", "[]", "found list"),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "found an added token"),
    ("tokenizer_config.json", '{"chat_template": 7}', "found chat_template of type int"),
    ("tokenizer.json", "{}", "found no tokenizer"),
])
def test_a_broken_file_beside_the_tokenizer_is_named(tmp_path, name, content, found):
    folder = json_folder(tmp_path / "model", None)
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=found) as caught:
        load_tokenizer(folder)
    assert name in str(caught.value) and "\n" not in str(caught.value)

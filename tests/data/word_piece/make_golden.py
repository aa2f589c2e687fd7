"""Writes vocab.txt and golden.json beside itself: what BertTokenizer makes of varied strings.

Needs transformers (made with 5.15, tokenizers 0.22). Same output on every run.
"""

import json
import pathlib
import random

from transformers import BertTokenizer

HERE = pathlib.Path(__file__).parent
SPECIALS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "the a cat dog is un able small play The Cat É é".split()
ENDINGS = "s ing ed able ##".split()
LETTERS = "abcdefghijklmnopqrstuvwxyzABCÉéßσςиабאבشلกह日本語か가가0123456789"
PUNCTUATION = "[](){}<>.,;:!?'\"-_/\\|@#$%^&*+=~`¿«»—…。、।՚"
# Where Unicode 8, 9 and today's disagree on what is an accent, a mark's order, punctuation,
# a control or a capital letter.
ODD = (
    "\u1734\u1885\ua9bd\U000111c9\u166d\u061d\u2e52\u2e42\u0890\u08e2\U000110cd\u0afa\u1abf\u1abe"
    "\U00011d44\U00011938\u302e\u302f\U0001d165\U0001d16d\u1bab\U00020000\U0002b820\U0002b920\uf900"
    "\u1c8a\u019b\u0264\ua7cd\ua7cf\ua7d3\ua7d5\ua7db\U00010d70\U00010d85\U00016ebb\U00016ed3🙂"
)
CAPITALS = "\u1c89\ua7dc\ua7cb\ua7cc\ua7ce\ua7d2\ua7d4\ua7da\U00010d50\U00010d65\U00016ea0\U00016eb8"
SPACES = "\t\n\r\x0b\x1c\x85\xa0\u1680\u180e\u2003\u2028\u202f\u3000\u200b\ufeff\x00\x7f\ufffd\xad\ue000"
SENTENCES = [
    "",
    " ",
    "The cat plays.",
    "the cats played, unable to stop!",
    "  A\tcat\r\nis  small\u00a0dog ",
    "unplayable Cats AND DOGS",
    "It's $3.50 (50% off) -- see <b>a_b</b> & `c`",
    "É é e\u0301 E\u0301 ÀÇÑ ß ẞ",
    "ΣΑΣ σς И и Й İ ı K Å",
    "日本語 か가 가 が 見日見",
    "שלום אב \u202bאב\u202c \u0634\u0644 \u0634\u0651\u064e\u0644",
    "👩‍👩‍👧 👍🏽 🇩🇪 1️⃣ 🙂",
    "a [SEP] the[CLS]cat [MASK] [UNK][PAD] [sep] [ SEP ] [SEP [[SEP]] [unused0] e\u0301[SEP]\u0301",
    "##s the##s # ## ###",
]


def texts():
    generator = random.Random(1)
    yield from SENTENCES
    for length in (99, 100, 101):
        for unit in ("a", "é", "e\u0301", "x\x00", "日", "a-"):
            yield f"the {unit * length} cat"
    yield "a" * 10000
    for odd in ODD + CAPITALS + SPACES:
        yield f"a{odd}b {odd}"
    marks = "\u0301\u0327\u0316\u302e\U0001d165\U0001d16d\u1bab\ua9bd\U00011d44\u1abf\u1734"
    for _ in range(80):  # Marks that stay are put in canonical order among those that go.
        yield "".join(
            generator.choice("aé가 か") + "".join(generator.choices(marks, k=generator.randint(0, 6)))
            for _ in range(4)
        )
    pieces = WORDS + list(LETTERS + PUNCTUATION + ODD + CAPITALS + SPACES) + [" "] * 20 + SPECIALS
    for _ in range(100):
        yield "".join(generator.choices(pieces, k=generator.randint(1, 25)))


def main():
    characters = LETTERS + ODD + "\u0301"
    vocabulary = SPECIALS + WORDS + ["##" + ending for ending in ENDINGS]
    vocabulary += [*characters, *("##" + c for c in characters), *PUNCTUATION]
    vocabulary = list(dict.fromkeys(vocabulary))
    (HERE / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    ids = {piece: i for i, piece in enumerate(vocabulary)}
    tokenizers = {
        "uncased": BertTokenizer(vocab=ids, do_lower_case=True),
        "cased": BertTokenizer(vocab=ids, do_lower_case=False),
    }
    lines = []
    for text in texts():
        case = {"text": text}
        for name, tokenizer in tokenizers.items():
            case[name] = tokenizer(text, truncation=True, max_length=512)["input_ids"]
        short = tokenizers["uncased"](text, truncation=True, max_length=5)["input_ids"]
        case["uncased_of_5"] = short
        lines.append(json.dumps(case))
    (HERE / "golden.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()

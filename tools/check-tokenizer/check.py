#!/usr/bin/env python3
"""Compares lowkey's tokenizer with Hugging Face's on one tokenizer.json: the ids of every text, and the text that comes back.

    python3 tools/check-tokenizer/check.py TOKENIZER_JSON [FILE|DIR ...]     needs: pip install tokenizers; go

Texts are the files given (*.go of folders; default: some of the Go installation's) and 2,000 made of odd Unicode. Exit status 1 on a difference.
"""
import json, os, pathlib, random, subprocess, sys, tempfile

import tokenizers

root = pathlib.Path(__file__).resolve().parents[2]


def texts(paths):
    for path in paths:
        path = pathlib.Path(path)
        for file in sorted(path.rglob("*.go")) if path.is_dir() else [path]:
            if file.is_file():
                try:
                    yield str(file), file.read_bytes().decode("utf-8")
                except UnicodeDecodeError:
                    print("not UTF-8, skipped:", file)


def odd(count):
    rng = random.Random(7)
    pieces = ["a", "err", "Z", "é", "ß", "ǅ", "ʰ", "中文", "あ", "한국", "ب", "क", "ि", "\u0301", "\u20dd", "\ufe0f", "\u200d", "😀", "👩‍👩‍👧", "𝒜", "𠀀", "0", "12", "3456", "٣", "½", "Ⅷ",
              " ", "  ", "\n", "\r\n", "\n\n", "\n\t\t", "\n    ", "\t", "\u00a0", "\u2028", "\u3000", "\u0085", "\u200b", "\x00", "\x7f", "\ufffd", "\ufeff", "'", "'s", "_", "__", "{", "}", "()", ":=", "!=", "//", "/*",
              "\"", "`", "“", "…", "€", "<|endoftext|>", "<|endoftext", "|>", "\U0010fffd"]
    for k in range(count):
        yield f"odd {k}", "".join(rng.choice(pieces) * rng.choice([1, 1, 1, 1, 2, 5]) for _ in range(rng.randrange(1, 60)))


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    path = pathlib.Path(sys.argv[1])
    goroot = subprocess.run(["go", "env", "GOROOT"], check=True, capture_output=True, text=True).stdout.strip()
    named = list(texts(sys.argv[2:] or [os.path.join(goroot, "src", d) for d in ("net", "encoding", "unicode", "go", "strconv", "text", "image")])) + list(odd(2000))
    theirs = tokenizers.Tokenizer.from_file(str(path))
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work, "model")
        folder.mkdir()
        (folder / "tokenizer.json").write_bytes(path.read_bytes())
        with open(pathlib.Path(work, "texts.json"), "w") as f:
            json.dump([t for _, t in named], f)
        out = subprocess.run(["go", "run", "./tools/check-tokenizer", str(folder), f.name], cwd=root, check=True, capture_output=True).stdout
    wrong = size = tokens = 0
    for (name, text), ours in zip(named, json.loads(out), strict=True):
        ids = theirs.encode(text).ids
        back = theirs.decode(ids, skip_special_tokens=False)
        size, tokens = size + len(text.encode()), tokens + len(ids)
        if ids != ours["ids"] or back != text or ours["text"] != text:
            wrong += 1
            if wrong <= 5:
                at = next((i for i, (a, b) in enumerate(zip(ids, ours["ids"])) if a != b), min(len(ids), len(ours["ids"])))
                print(f"{name}: differs at token {at}: tokenizers {ids[at:at+8]}, lowkey {ours['ids'][at:at+8]}; text back: {back == text}, {ours['text'] == text}")
    print(f"tokenizers {tokenizers.__version__}: {len(named)} texts, {size/1e6:.2f} MB, {tokens} tokens, {wrong} differ")
    sys.exit(wrong > 0)


main()

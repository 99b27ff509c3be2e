"""Makes the reference files of this folder with Hugging Face's tokenizers 0.23.3 (pip install tokenizers==0.23.3):
one folder a pipeline, with a small trained tokenizer.json and what that library encodes and decodes."""

import json
import os
import random
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = open(os.path.join(HERE, "corpus.txt"), encoding="utf-8").read().split("\n")
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = ["<0x%02X>" % b for b in range(256)]
FIXED = [
    "", "a", " ", "  ", "Hello world", " Hello  world ", "don't I'll WE'VE she'd", "1 22 333 4444 1234567.89", "a\n\nb\r\n\tc  \n d",
    "naïve café Ünïcödé", "日本語のテキスト、中文。한국어", "Привет, мир! Ёлка", "مرحبا بالعالم", "हिन्दी पाठ", "😀👩‍👩‍👧‍👦🏳️‍🌈", "\u0000\u0001",
    "x" * 50, " " * 17, "fi ﬁ ℌ ①½²", "e\u0301 é", "https://example.com/a?b=c&d=e", "<s>hi</s>", "<|im_start|>user\nhi<|im_end|>",
    "a <mask> b", "a<mask>b", "new york newyork new", "<think> x </think>", "▁a▁▁b", "func main() {\n\tfmt.Println(\"hi\")\n}\n",
    "İstanbul ǅ ß ſ", "a-b--c ---", "tab\tnbsp\u00a0ideographic\u3000line\u2028", "x <unk> y", "<0x41> <0xZZ>", "$5 + 3 = 8 ^ `q` ~",
]
ALPHABET = ["a", "b", "z", "A", "s", "t", "'", "0", "1", "9", " ", " ", "  ", "\n", "\r\n", "\t", ".", ",", "-", "$", "é", "д", "中", "あ",
            "한", "ا", "\u0301", "😀", "，", "the", "ing", "ver", "<s>", "<mask>", "new york", "▁", "\u00a0", "½", "ß"]


def byte_level_alphabet():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def bpe(name, norm=None, pre=None, dec=None, post=None, added=(), special=(), size=420, alphabet=(), **model):
    tok = Tokenizer(models.BPE(**model))
    if norm:
        tok.normalizer = norm
    if pre:
        tok.pre_tokenizer = pre
    if dec:
        tok.decoder = dec
    first = [s for s in special if isinstance(s, str)]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first + (BYTES if model.get("byte_fallback") else []),
                                  initial_alphabet=list(alphabet), show_progress=False, max_token_length=16)
    tok.train_from_iterator(CORPUS, trainer)
    finish(name, tok, post, added, special, model.get("byte_fallback"))


def unigram(name, norm=None, pre=None, dec=None, post=None, added=(), special=(), size=420, byte_fallback=False):
    tok = Tokenizer(models.Unigram())
    if norm:
        tok.normalizer = norm
    tok.pre_tokenizer = pre
    tok.decoder = dec
    names = list(special) + (BYTES if byte_fallback else [])
    tok.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=size, special_tokens=names, unk_token="<unk>", show_progress=False))
    data = json.loads(tok.to_str())
    if byte_fallback:
        data["model"]["byte_fallback"] = True
    tok = Tokenizer.from_str(json.dumps(data))
    finish(name, tok, post, added, special, byte_fallback)


def finish(name, tok, post, added, special, byte_fallback):
    data = json.loads(tok.to_str())
    if byte_fallback:  # the trainer marks the bytes as special; published files do not
        data["added_tokens"] = [a for a in data["added_tokens"] if a["content"] not in BYTES]
        tok = Tokenizer.from_str(json.dumps(data))
    for a in added:
        tok.add_special_tokens([a]) if a.special else tok.add_tokens([a])
    if post:
        tok.post_processor = post(tok)
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")))
    rng = random.Random(name)
    texts = FIXED + ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(2, 25))) for _ in range(40)]
    cases = []
    for text in texts:
        ids = tok.encode(text, add_special_tokens=False).ids
        cases.append({"text": text, "ids": ids, "ids_special": tok.encode(text).ids, "decoded": tok.decode(ids, skip_special_tokens=False)})
    with open(os.path.join(folder, "tokenizer_cases.json"), "w", encoding="utf-8") as f:
        f.write('{"note":"by tokenizers 0.23.3","cases":[\n' + ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases) + "]}\n")


def template(text, *names):
    return lambda tok: processors.TemplateProcessing(single=text, special_tokens=[(n, tok.token_to_id(n)) for n in names])


def special(text, **kw):
    return AddedToken(text, special=True, normalized=kw.pop("normalized", False), **kw)


CHAT = [special("<|im_start|>"), special("<|im_end|>")]
LLAMA_DECODER = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
ODD = [special("<mask>", lstrip=True), AddedToken("new york", single_word=True, normalized=True), AddedToken("<think>", normalized=False),
       AddedToken("</think>", rstrip=True, normalized=False)]


def split(pattern, how="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), how, invert)


def byte_level(**kw):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **kw})


alphabet = byte_level_alphabet()
bpe("gpt2_prefix", pre=byte_level(add_prefix_space=True, use_regex=True), dec=decoders.ByteLevel(), added=CHAT + ODD, alphabet=alphabet)
bpe("llama3", pre=pre_tokenizers.Sequence([split(GPT4), byte_level()]), dec=decoders.ByteLevel(), ignore_merges=True, alphabet=alphabet,
    added=[special("<s>"), special("</s>")] + ODD, post=template("<s> $A </s>", "<s>", "</s>"))
bpe("qwen", norm=normalizers.NFC(), pre=pre_tokenizers.Sequence([split(GPT4.replace("{1,3}", "")), byte_level()]), dec=decoders.ByteLevel(),
    alphabet=alphabet, added=CHAT + ODD)
bpe("o200k", pre=pre_tokenizers.Sequence([split(O200K, "removed", True), byte_level()]), dec=decoders.ByteLevel(), alphabet=alphabet, added=CHAT)
bpe("deepseek", pre=pre_tokenizers.Sequence([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"),
    pre_tokenizers.Digits(individual_digits=True), byte_level()]), dec=decoders.ByteLevel(), alphabet=alphabet, added=ODD)
bpe("falcon", pre=pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(use_regex=True), pre_tokenizers.Digits(),
    split("[0-9][0-9][0-9]")]), dec=decoders.ByteLevel(), alphabet=alphabet)
bpe("byte_norm", norm=normalizers.Sequence([normalizers.NFKC(), normalizers.ByteLevel()]), pre=split(r"\w+|\W", "merged_with_next"),
    dec=decoders.ByteLevel(), alphabet=alphabet)
bpe("llama2", norm=normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), dec=LLAMA_DECODER, byte_fallback=True,
    fuse_unk=True, unk_token="<unk>", special=["<unk>", "<s>", "</s>"], size=640, added=ODD, post=template("<s> $A", "<s>"))
bpe("gemma", norm=normalizers.Replace(" ", "▁"), pre=pre_tokenizers.Split(" ", "merged_with_previous"),
    dec=decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]), byte_fallback=True, fuse_unk=True,
    unk_token="<unk>", special=["<pad>", "<eos>", "<bos>", "<unk>"], size=640, added=[AddedToken("\n\n", normalized=False)] + ODD,
    post=template("<bos> $A", "<bos>"))
for scheme in ["first", "always", "never"]:
    bpe("metaspace_" + scheme, pre=pre_tokenizers.Metaspace("▁", scheme), dec=decoders.Metaspace("▁", scheme), unk_token="<unk>",
        special=["<unk>", "<s>"], added=ODD, fuse_unk=scheme == "first")
bpe("words", norm=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]),
    pre=pre_tokenizers.Whitespace(), unk_token="[UNK]", special=["[UNK]"], added=ODD)
bpe("delimiters", norm=normalizers.Replace(Regex(r"\s{2,}"), "-"), pre=pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
    pre_tokenizers.CharDelimiterSplit("-"), pre_tokenizers.Punctuation("merged_with_previous")]), unk_token="[UNK]", special=["[UNK]"])
bpe("bert_words", pre=pre_tokenizers.BertPreTokenizer(), unk_token="[UNK]", special=["[UNK]", "[CLS]", "[SEP]"],
    post=lambda tok: processors.BertProcessing(("[SEP]", tok.token_to_id("[SEP]")), ("[CLS]", tok.token_to_id("[CLS]"))))
T5 = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
unigram("unigram", norm=T5, pre=pre_tokenizers.Metaspace("▁", "always"), dec=decoders.Metaspace("▁", "always"), special=["<pad>", "</s>", "<unk>"],
        added=ODD, post=template("$A </s>", "</s>"))
unigram("unigram_bytes", pre=pre_tokenizers.Metaspace("▁", "first", False), dec=decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first")]),
        special=["<unk>", "<s>"], size=640, byte_fallback=True, added=ODD)

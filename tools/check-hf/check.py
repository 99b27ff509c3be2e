#!/usr/bin/env python3
"""Compares lowkey with PyTorch on exported models: every design, every form.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors      # CPU builds will do
    venv/bin/python tools/check-hf/check.py [--write] [--work DIR] [NAME...]

Tiny models with weights made from their names are written by a Go test, exported in each form, and loaded in transformers from nothing but the exported folder. Compared are, in float32:

    full       logits of all positions at once, with lowkey's (its cached step, f32 cache)
    cached     logits of a prompt of 13 tokens, then 5, then one by one through the cache, with lowkey's
    numbers    what one token leaves in a layer of the cache, with the design's formula
    padded     greedy generation of two prompts of unequal length in one batch, with each alone: with a growing, a static and no cache
    packed     logits of the second of two texts in one row, told apart by position_ids, with those of it alone
    greedy     greedy generation of 12 tokens: each is lowkey's best or within the tolerance of it
    replay     gradients with gradient checkpointing, with those without
    training   the loss after 20 steps of AdamW, below the first; the model is saved by save_pretrained
    back       logits of that model after lowkey import, with PyTorch's
    half       logits of the model exported and loaded in bfloat16, with lowkey's of that folder (limit 0.05; 0.1 where layers read a higher one: roundings pass from token to token;
               0.3 where a latent is stored in 4 bits: a rounding can be a whole code)

Nothing may be missing, unexpected or of another shape when a folder is loaded. --write stores PyTorch's logits in convert/hf/testdata/torch.json, where a Go test compares lowkey with them, and
the table in docs/results/export.md. Differences are max |a - b| / max |b|; the limit is 1e-4.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 1e-4
IDS = [(7 * i * i + 3 * i + 5) % 23 for i in range(40)]
KEPT = (0, 1, 12, 39)  # rows of logits that are stored

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="check-hf-modules-")  # no code of an earlier run

warnings.filterwarnings("ignore", category=FutureWarning)

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402


def run(*args, **kwargs):
    subprocess.run([str(a) for a in args], check=True, cwd=ROOT, **kwargs)


def lowkey_logits(folder, ids):
    text, out = work / "ids.txt", work / "logits.safetensors"
    text.write_text(" ".join(map(str, ids)))
    run(work / "lowkey", "logits", "-m", folder, "--ids", text, "-o", out, stderr=subprocess.DEVNULL)
    return load_file(out)["logits"]


def difference(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def cache_numbers(cache, tokens):
    """Numbers a token in the first layer that has a cache. A sliding layer holds less than all tokens."""
    layer = next(layer for layer in cache.layers if layer.keys is not None)
    rows = min(tokens, getattr(layer, "sliding_window", tokens + 1) - 1)
    return (layer.keys.numel() + layer.values.numel()) / rows


def check(name, form, about):
    folder, native = work / "models" / name / form, work / "models" / name / "native"
    model, info = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(key), (name, form, key, info[key])
    model.eval()
    got = {"class": type(model).__name__}
    want = lowkey_logits(native, IDS)
    ids = torch.tensor([IDS])
    with torch.no_grad():
        full = model(ids, use_cache=False).logits[0]
        got["full"] = difference(full, want)
        cache, rows, at = None, [], 0
        for n in [13, 5] + [1] * (len(IDS) - 18):
            out = model(ids[:, at : at + n], past_key_values=cache, use_cache=True)
            cache, at = out.past_key_values, at + n
            rows.append(out.logits[0])
        got["cached"] = difference(torch.cat(rows), want)
        got["numbers"] = cache_numbers(cache, len(IDS))
        assert got["numbers"] == about["cached"], (name, form, got["numbers"], about["cached"])
        layer_map = getattr(model.config, "layer_map", None)
        owners = len({s.removesuffix("s") for s in layer_map.split("_")}) if layer_map else len(model.model.layers)
        held = sum(layer.keys is not None and layer.keys.numel() + layer.values.numel() > 0 for layer in cache.layers)
        assert held == owners, (name, form, "layers that hold a cache", held, owners)

        def generate(prompts, **kwargs):
            width = max(map(len, prompts))
            batch = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
            return model.generate(batch, attention_mask=mask, max_new_tokens=12, min_new_tokens=12, do_sample=False, pad_token_id=0, **kwargs)[:, width:].tolist()

        long, short = IDS[:17], IDS[20:29]
        alone = [generate([p])[0] for p in (long, short)]
        static = {"cache_implementation": "static", "disable_compile": True}
        got["padded"] = sum(a != b for kind in ({}, static, {"use_cache": False}) for a, b in zip(generate([long, short], **kind), alone))
        both = torch.tensor([long + short])
        places = torch.tensor([[*range(len(long)), *range(len(short))]])
        packed = model(both, position_ids=places, use_cache=False).logits[0, len(long) :]
        got["packed"] = difference(packed, model(torch.tensor([short]), use_cache=False).logits[0])
        want_long = lowkey_logits(native, long + alone[0])
        worst = 0.0
        for i, token in enumerate(alone[0]):
            row = want_long[len(long) - 1 + i].clone()
            row[2] = -1e9  # min_new_tokens forbids the stop token
            worst = max(worst, ((row.max() - row[token]) / want_long.abs().max()).item())
        got["greedy"] = worst

    def gradients():
        model.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        return {k: p.grad.clone() for k, p in model.named_parameters()}

    model.train()
    calls = []
    hook = model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    plain = gradients()
    once = len(calls)
    model.gradient_checkpointing_enable()
    replayed = gradients()
    model.gradient_checkpointing_disable()
    hook.remove()
    assert len(calls) - once > once, (name, form, "a replayed layer runs twice", once, len(calls))
    got["replay"] = max(difference(replayed[k], plain[k]) for k in plain if plain[k].abs().max() > 0)

    if bits := getattr(model.config, "latent_bits", 0):  # straight through
        x = torch.randn(3, 37, requires_grad=True)
        sys.modules[type(model).__module__].stored(x, bits).sum().backward()
        assert (x.grad == 1).all(), (name, form, "gradient of a stored latent")

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    got["training"] = [round(losses[0], 4), round(losses[-1], 4)]
    assert losses[-1] < losses[0]
    model.eval()
    saved, back = work / "models" / name / (form + "-trained"), work / "models" / name / (form + "-back")
    model.save_pretrained(saved)
    run(work / "lowkey", "import", saved, "-o", back, stdout=subprocess.DEVNULL)
    with torch.no_grad():
        got["back"] = difference(lowkey_logits(back, IDS), model(ids, use_cache=False).logits[0])
    half = work / "models" / name / (form + "-bf16")
    run(work / "lowkey", "export", "--hf", "-m", native, "-o", half, "--form", form, "--dtype", "bf16", stdout=subprocess.DEVNULL)
    small = AutoModelForCausalLM.from_pretrained(half, trust_remote_code=True, dtype="auto").eval()
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        got["half"] = difference(small(ids).logits[0].float(), lowkey_logits(half, IDS))
    circle = layer_map and any(int(s.removesuffix("s")) > i for i, s in enumerate(layer_map.split("_")))
    limit = 0.3 if getattr(model.config, "latent_bits", 0) == 4 else 0.1 if circle else 0.05
    assert got["half"] < limit, (name, form, got["half"])
    for key in ("full", "cached", "greedy", "replay", "back", "padded", "packed"):
        assert got[key] <= LIMIT, (name, form, key, got[key])
    return got, full


def main():
    global work
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="store the results in the repository")
    parser.add_argument("--work", help="a folder to work in (default: a temporary one)")
    parser.add_argument("names", nargs="*")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as temp:
        work = pathlib.Path(a.work or temp).resolve()
        models = work / "models"
        run("rm", "-rf", models)
        run("go", "build", "-o", work / "lowkey", "./cmd/lowkey")
        run("go", "test", "./convert/hf", "-run", "TestWriteFolders", "-count=1", env=dict(os.environ, LOWKEY_HF_OUT=str(models)), stdout=subprocess.DEVNULL)
        stored, rows = {}, []
        for name in a.names or sorted(p.name for p in models.iterdir()):
            about = json.loads((models / name / "about.json").read_text())
            for form in ("public", "custom"):
                if not (models / name / form).exists():
                    continue
                got, full = check(name, form, about)
                print(name, form, got, flush=True)
                rows.append((name, form, got))
                stored[name] = {
                    "weights": hashlib.sha256((models / name / "native" / "model.safetensors").read_bytes()).hexdigest(),
                    "rows": {str(i): [float(f"{v:.7g}") for v in full[i].tolist()] for i in KEPT},
                }
        if a.write:
            write(stored, rows, bool(a.names))


def write(stored, rows, some):
    """Writes the results of all models, or, where only some were named, of those beside the ones that are there."""
    if some:
        stored = dict(sorted((json.loads((ROOT / "convert/hf/testdata/torch.json").read_text())["models"] | stored).items()))
    lines = [json.dumps(name) + ": " + json.dumps(entry) for name, entry in stored.items()]
    head = json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "ids": IDS})[1:-1]
    (ROOT / "convert/hf/testdata").mkdir(exist_ok=True)
    (ROOT / "convert/hf/testdata/torch.json").write_text("{" + head + ', "models": {\n' + ",\n".join(lines) + "\n}}\n")
    cells = lambda g: f"{g['full']:.1e} | {g['cached']:.1e} | {g['back']:.1e} | {g['replay']:.1e} | {g['packed']:.1e} | {g['half']:.3f} | {g['numbers']:g} | {g['training'][0]:.2f} → {g['training'][1]:.2f}"
    path = ROOT / "docs/results/export.md"
    text = path.read_text()
    begin, end = "<!-- table -->\n", "<!-- end -->"
    before, rest = text.split(begin)
    name = lambda row: row.split(" | ")[0]
    table = [f"| {name} | {form} | {g['class']} | {cells(g)} |" for name, form, g in rows]
    if some:
        new = {name(row) for row in table}
        table = sorted(table + [row for row in rest.split(end)[0].split("|\n|---")[-1].splitlines()[1:] if name(row) not in new], key=name)
    table = "\n".join(table)
    after = rest.split(end)[1]
    note = f"{datetime.date.today()}, PyTorch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}, float32 on the CPU:\n\n"
    header = "| model | form | class in transformers | full | cached | back | replay | packed | half | numbers a token | loss |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    path.write_text(before + begin + note + header + table + "\n" + end + after)


if __name__ == "__main__":
    main()

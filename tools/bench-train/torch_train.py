# PyTorch's side of the training comparison: a decoder of the given size on random tokens, timed step by step.
# usage: torch_train.py '{"hidden":256,"layers":6,"heads":4,"ffn":680,"vocab":512,"batch":16,"seq":256,"steps":8,"threads":2,"dtype":"f32","compile":false}'
# prints one line of JSON: parameters, tokens per second (median and best of the steps after the first two), peak resident bytes.
import contextlib, json, resource, statistics, sys, time
import torch
from torch import nn
from torch.nn import functional as F

o = json.loads(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(o["threads"])
width = o["hidden"] // o["heads"]


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        d = o["hidden"]
        self.norm1, self.norm2 = nn.RMSNorm(d, eps=1e-6), nn.RMSNorm(d, eps=1e-6)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(d, o["ffn"], bias=False), nn.Linear(d, o["ffn"], bias=False)
        self.down = nn.Linear(o["ffn"], d, bias=False)

    def forward(self, x, cos, sin):
        h = self.norm1(x)
        heads = lambda y: y.unflatten(-1, (o["heads"], width)).transpose(1, 2)
        y = F.scaled_dot_product_attention(rotate(heads(self.q(h)), cos, sin), rotate(heads(self.k(h)), cos, sin), heads(self.v(h)), is_causal=True)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(o["vocab"], o["hidden"])
        self.blocks = nn.ModuleList(Block() for _ in range(o["layers"]))
        self.norm = nn.RMSNorm(o["hidden"], eps=1e-6)
        self.head = nn.Linear(o["hidden"], o["vocab"], bias=False)
        angle = torch.outer(torch.arange(o["seq"]), 10000 ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids, targets):
        x = self.embed(ids)
        for b in self.blocks:
            x = b(x, self.cos, self.sin)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten())


model = Decoder()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
run = torch.compile(model) if o["compile"] else model
precision = lambda: torch.autocast("cpu", dtype=torch.bfloat16) if o["dtype"] == "bf16" else contextlib.nullcontext()
seconds = []
for _ in range(o["steps"] + 2):
    ids = torch.randint(0, o["vocab"], (o["batch"], o["seq"] + 1))
    start = time.perf_counter()
    with precision():
        loss = run(ids[:, :-1], ids[:, 1:].contiguous())
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - start)
seconds = seconds[2:]
tokens = o["batch"] * o["seq"]
print(json.dumps({"parameters": sum(p.numel() for p in model.parameters()), "tokens_per_second": tokens / statistics.median(seconds), "best_tokens_per_second": tokens / min(seconds),
                  "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch": torch.__version__}))

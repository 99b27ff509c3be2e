#!/usr/bin/env python3
"""Trains an exported folder on a text file: the smallest loop with torchrun and FSDP, to start from.

    lowkey export --hf -m MODEL -o hf
    torchrun --nproc-per-node 8 tools/train-hf/train.py hf corpus.txt trained --steps 1000 --batch 4 --length 1024
    lowkey import trained -o MODEL2

Each process reads windows of its own from the text, which is tokenized whole. Parameters, gradients and optimiser state are sharded block by block; the saved folder is whole.
"""

import argparse
import os
import shutil

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
for name in ("model", "text", "out"):
    parser.add_argument(name)
for name, default in (("steps", 100), ("batch", 4), ("length", 256), ("rate", 3e-4), ("seed", 1)):
    parser.add_argument("--" + name, type=type(default), default=default)
parser.add_argument("--checkpointing", action="store_true", help="compute activations again instead of keeping them")
a = parser.parse_args()

cuda = torch.cuda.is_available()
dist.init_process_group("nccl" if cuda else "gloo")
rank, world = dist.get_rank(), dist.get_world_size()
if cuda:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
device = "cuda" if cuda else "cpu"
tokens = torch.tensor(Tokenizer.from_file(os.path.join(a.model, "tokenizer.json")).encode(open(a.text).read()).ids)
assert len(tokens) > a.length, f"{a.text} has {len(tokens)} tokens, fewer than --length {a.length}"
model = AutoModelForCausalLM.from_pretrained(a.model, trust_remote_code=True, dtype=torch.float32).to(device).train()
if a.checkpointing:
    model.gradient_checkpointing_enable()
mesh = dist.init_device_mesh(device, (world,))
for layer in model.model.layers:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=a.rate, betas=(0.9, 0.95), weight_decay=0.1)
rng = torch.Generator().manual_seed(a.seed * world + rank)
for step in range(a.steps):
    at = torch.randint(len(tokens) - a.length, (a.batch,), generator=rng)
    batch = torch.stack([tokens[i : i + a.length] for i in at]).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=cuda):
        loss = model(batch, labels=batch, use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % 10 == 0 or step == a.steps - 1:
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        if rank == 0:
            print(f"step {step} loss {mean.item() / world:.4f}", flush=True)
state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if rank == 0:  # the folder as it was, with other weights; save_pretrained would keep the code of FSDP's classes instead of the model's
    shutil.copytree(a.model, a.out, ignore=shutil.ignore_patterns("*.safetensors*"))
    save_file({k: v.clone().contiguous() for k, v in state.items()}, os.path.join(a.out, "model.safetensors"), metadata={"format": "pt"})
dist.destroy_process_group()

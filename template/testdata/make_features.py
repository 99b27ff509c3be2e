"""Writes features.jsonl: what Python's Jinja2 renders for each template in it, in the setting of Hugging Face transformers. Run in this folder after adding lines such as {"t": "{{ 1 + 1 }}"}; needs jinja2 3.1."""

import copy
import json
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: datetime(2026, 7, 9, 12, 34, 56).strftime(f)

lines = [json.loads(line) for line in open("features.jsonl")]
variables = lines[0]["variables"]
with open("features.jsonl", "w") as out:
    out.write(json.dumps(lines[0], ensure_ascii=False) + "\n")
    for line in lines[1:]:
        case = {"t": line["t"]}
        try:
            case["want"] = env.from_string(line["t"]).render(**copy.deepcopy(variables))
        except Exception as e:
            case["error"] = type(e).__name__ + ": " + str(e)
        out.write(json.dumps(case, ensure_ascii=False) + "\n")

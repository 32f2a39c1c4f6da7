"""Conversations as rows of tokens, with the tokens that the assistant wrote.

The templates are written out in Python and say themselves what the assistant wrote: nothing is read from the Jinja templates
that the engine renders, and nothing is searched for in the rendered text.
"""

import json
import re

FORMATS = "messages", "sharegpt"

# What the chat model's tokenizer has beside the printable characters.
TOKENS = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

# The chat model's own template: ChatML, in which an answer loses its thoughts as soon as the user speaks again.
MODEL_TEMPLATE = """
{%- set ns = namespace(asked=-1) -%}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor -%}
{%- for message in messages -%}
    {%- set text = message.content -%}
    {%- if message.role == 'assistant' and loop.index0 < ns.asked and '</think>' in text -%}
        {%- set text = text.split('</think>')[-1].lstrip('\\n') -%}
    {%- endif -%}
    {{- '<|im_start|>' + message.role + '\\n' + text + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def chatml(messages, forgets=False):
    """Pieces (text, whether it is trained). forgets leaves the thoughts out of answers that another question follows."""
    asked = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    for i, m in enumerate(messages):
        text, answers = m["content"], m["role"] == "assistant"
        if forgets and answers and i < asked and "</think>" in text:
            text = text[text.rindex("</think>") + len("</think>"):].lstrip("\n")
        yield f"<|im_start|>{m['role']}\n", False
        yield text + "<|im_end|>", answers
        yield "\n", False


def llama3(messages):
    yield "<s>", False
    for m in messages:
        yield f"<|start_header_id|>{m['role']}<|end_header_id|>\n\n", False
        yield m["content"].strip() + "<|eot_id|>", m["role"] == "assistant"


TEMPLATES = {"chatml": chatml, "llama3": llama3, "model": lambda messages: chatml(messages, forgets=True)}


def messages_of(row):
    """The messages of a row in either format, up to the assistant's last."""
    if "messages" in row:
        messages = row["messages"]
    else:
        roles = {"human": "user", "gpt": "assistant", "system": "system"}
        messages = [{"role": "system", "content": row["system"]}] if "system" in row else []
        messages = messages + [{"role": roles[t["from"]], "content": t["value"]} for t in row["conversations"]]
    while messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    return messages


class Encoder:
    """A tokenizer of single characters and of special tokens."""

    def __init__(self, path):
        with open(path) as f:
            t = json.load(f)
        self.vocab = t["model"]["vocab"] | {a["content"]: a["id"] for a in t["added_tokens"]}
        self.special = re.compile("(" + "|".join(re.escape(a["content"]) for a in t["added_tokens"]) + ")")

    def encode(self, text):
        parts = []
        for part in self.special.split(text):
            parts += [part] if part in self.vocab else [{" ": "Ġ", "\n": "Ċ"}.get(c, c) for c in part]
        return [self.vocab[p] for p in parts]


def prompt(messages, encoder):
    """The tokens of a conversation in the chat model's own template, up to where the assistant answers."""
    return encoder.encode("".join(text for text, _ in chatml(messages, forgets=True)) + "<|im_start|>assistant\n")


def read_rows(path, settings, encoder):
    """The rows of a JSONL file of conversations, cut to max_length of the run's dataset settings."""
    rows = []
    with open(path) as f:
        for line in f:
            ids, labels = [], []
            for text, trained in TEMPLATES[settings.get("template", "model")](messages_of(json.loads(line))):
                piece = encoder.encode(text)
                ids += piece
                labels += piece if trained else [-100] * len(piece)
            n = settings.get("max_length", len(ids))
            rows.append({"input_ids": ids[:n], "labels": labels[:n]})
    return rows

"""Reads documents: the commands that they show, and the output that they promise.

A fenced block is either a transcript, in which a command begins with "$ " and everything up to the
next one is its output; or a script (```sh, or a block of plain text), every line of which is a
command, and whose last one has the block right after it, if that is ```json or ```text, as its
output. A command goes on over a trailing backslash, an open quote and a heredoc. Only those that
call grpcurl or muster count. "…" in an output stands for any text; a line that is just "…" for any
lines.
"""
import dataclasses
import json
import re

FENCE = re.compile(r"^(```+)\s*([a-z]*)\s*$")
HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?")
# At the start, or after a pipe, behind settings of the environment.
RUNS = re.compile(r"(?:^|\|\s*)(?:[A-Z_]+=\S+\s+)*(?:\S*/bin/)?(?:grpcurl|muster)(?=\s)")


@dataclasses.dataclass
class Block:
    language: str
    line: int
    lines: list


@dataclasses.dataclass
class Command:
    line: int
    text: str
    output: str = None  # None: nothing is promised


def blocks(text):
    found, fence = [], None
    for number, line in enumerate(text.splitlines(), 1):
        mark = FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
            found.append(Block(mark[2], number + 1, []))
        elif fence is not None and line.strip() == fence:
            fence = None
        elif fence is not None:
            found[-1].lines.append(line)
    return found


def is_whole(text):
    """Whether a shell would run `text` rather than read on."""
    for end in HEREDOC.findall(text):
        if not re.search(rf"^{end}$", text, re.MULTILINE):
            return False
    if HEREDOC.search(text):
        return True
    bare = re.sub(r"\\.", "", text)
    return not text.endswith("\\") and not text.endswith("|") and bare.count("'") % 2 == 0


def read_command(lines, at):
    """The command at lines[at], and the index of the first line after it."""
    text = lines[at].removeprefix("$ ")
    at += 1
    while not is_whole(text) and at < len(lines):
        text += "\n" + lines[at]
        at += 1
    return text, at


def transcript(block):
    at, found = 0, []
    while at < len(block.lines):
        if block.lines[at].startswith("$ "):
            line = block.line + at
            text, at = read_command(block.lines, at)
            found.append(Command(line, text, ""))
            continue
        if found:
            found[-1].output += block.lines[at] + "\n"
        at += 1
    return found


def script(block, following):
    at, found = 0, []
    while at < len(block.lines):
        line = block.line + at
        text, at = read_command(block.lines, at)
        if text.strip():
            found.append(Command(line, text))
    if found and following and following.language in ("json", "text"):
        found[-1].output = "\n".join(following.lines) + "\n"
    return found


def commands(text):
    """All commands that a document shows, in order, that call grpcurl or muster."""
    found, all_blocks = [], blocks(text)
    for index, block in enumerate(all_blocks):
        following = all_blocks[index + 1] if index + 1 < len(all_blocks) else None
        if any(line.startswith("$ ") for line in block.lines):
            found += transcript(block)
        elif block.language in ("sh", "bash", "console", "text", ""):
            found += script(block, following)
    return [command for command in found if RUNS.search(command.text)]


# What differs from run to run: points in time, fractions of seconds, revisions and handles.
VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<time>"),
    (re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?(?:ms|us|s|m|h))+(?![\w.])"), "<duration>"),
    (re.compile(r"(?<![\w.:-])\d{4,}(?![\w.])|(?<!\w)\d{12,}(?!\w)"), "<number>"),
    (re.compile(r"(?<!\w)0x[0-9a-f]+"), "<number>"),
]


def steady(text):
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return " ".join(text.split())


def glob(text):
    return "".join(".*" if part == "…" else re.escape(part) for part in re.split("(…)", text))


def same_text(promised, got):
    return re.fullmatch(glob(steady(promised)), steady(got), re.DOTALL) is not None


def same_lines(promised, got):
    """Whether `got` is what `promised` says, line by line."""
    wanted = "".join(r"(?:.*\n)*?" if line.strip() == "…" else glob(steady(line)) + r"\n"
                     for line in promised.strip().splitlines())
    have = "".join(steady(line) + "\n" for line in got.strip().splitlines())
    return re.fullmatch(wanted, have) is not None


def json_values(text):
    """The JSON values that follow each other in a text, or None if it is something else."""
    found, at, decoder = [], 0, json.JSONDecoder()
    text = text.strip()
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            return None
        found.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return found if found and all(isinstance(value, (dict, list)) for value in found) else None


def json_difference(promised, got, path="$"):
    """Where two values differ, or "" if they don't. The same keys, the same values but for what
    varies."""
    if isinstance(promised, dict) and isinstance(got, dict):
        for key in sorted(promised.keys() | got.keys()):
            if key not in promised or key not in got:
                return f"{path}.{key} is only in the {'answer' if key in got else 'document'}"
            difference = json_difference(promised[key], got[key], f"{path}.{key}")
            if difference:
                return difference
        return ""
    if isinstance(promised, list) and isinstance(got, list):
        if len(promised) != len(got):
            return f"{path} has {len(promised)} items in the document and {len(got)} in the answer"
        parts = (json_difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(promised, got)))
        return next(filter(None, parts), "")
    if type(promised) is type(got) and same_text(str(promised), str(got)):
        return ""
    return f"{path} is {promised!r} in the document and {got!r} in the answer"


def difference(promised, got):
    """How an output differs from the promised one, or ""."""
    wanted = json_values(promised)
    if wanted is None:
        return "" if same_lines(promised, got) else f"promised:\n{promised}\nanswered:\n{got}"
    have = json_values(got)
    if have is None:
        return f"promised JSON, answered:\n{got}"
    found = json_difference(wanted, have)
    return f"{found}; answered:\n{got}" if found else ""

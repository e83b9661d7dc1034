"""Reads line protocol as its specification says, written apart from the code that makes it."""


def read_line(text):
    """(measurement, tags, fields, time in ns). Fields keep their kind: int, float, bool, str."""
    head, rest = split_at(text, " ", quotes=False)
    fields, at = split_at(rest, " ")
    name, *tags = split_all(head, ",", quotes=False)
    return (
        plain(name),
        dict(pair(tag) for tag in tags),
        {key: value_of(raw) for key, raw in map(raw_pair, split_all(fields, ","))},
        int(at),
    )


def split_at(text, mark, *, quotes=True):
    """Before and after the first mark that is not escaped, nor in quotes where there are any."""
    quoted, place = False, 0
    while place < len(text):
        sign = text[place]
        if sign == "\\":
            place += 2
            continue
        if quotes and sign == '"':
            quoted = not quoted
        elif sign == mark and not quoted:
            return text[:place], text[place + 1 :]
        place += 1
    raise ValueError(f"no {mark!r} in {text!r}")


def split_all(text, mark, *, quotes=True):
    parts = []
    while True:
        try:
            part, text = split_at(text, mark, quotes=quotes)
        except ValueError:
            return [*parts, text]
        parts.append(part)


def plain(text):
    """A name, key or tag value without its escapes."""
    for mark in ",= ":
        text = text.replace("\\" + mark, mark)
    return text


def pair(tag):
    key, value = split_at(tag, "=", quotes=False)
    if not value:
        raise ValueError(f"tag {key} is empty")
    return plain(key), plain(value)


def raw_pair(field):
    key, value = split_at(field, "=")
    return plain(key), value


def value_of(raw):
    if raw.startswith('"'):
        if not raw.endswith('"') or len(raw) < 2:
            raise ValueError(f"{raw} is not closed")
        return raw[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if raw in {"t", "T", "true", "True", "TRUE"}:
        return True
    if raw in {"f", "F", "false", "False", "FALSE"}:
        return False
    if raw.endswith("i"):
        value = int(raw[:-1])
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{raw} does not fit")
        return value
    if raw.lower().strip("+-") in {"nan", "inf", "infinity"}:
        raise ValueError(f"{raw} is no number")
    return float(raw)
